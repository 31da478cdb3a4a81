// nats.java against a cluster of three. NATS_URLS: their URLs. NODE1_PID: the first one's process.

import io.nats.client.Connection;
import io.nats.client.ConnectionListener;
import io.nats.client.Dispatcher;
import io.nats.client.ErrorListener;
import io.nats.client.Message;
import io.nats.client.Nats;
import io.nats.client.Options;
import io.nats.client.Subscription;
import io.nats.client.api.ServerInfo;
import io.nats.client.impl.Headers;
import io.nats.client.impl.NatsMessage;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

public final class Interop {
  private static final String[] URLS = System.getenv("NATS_URLS").split(",");
  private static final Duration DEADLINE = Duration.ofSeconds(10);

  private interface Check {
    void run() throws Exception;
  }

  /** The cut and the refused attempts at the dead node are no news. */
  private static final ErrorListener QUIET = new ErrorListener() {};

  private static Options.Builder options(int node) {
    return new Options.Builder().server(URLS[node]).errorListener(QUIET).connectionTimeout(DEADLINE);
  }

  private static Connection connect(int node) throws Exception {
    return Nats.connect(options(node).build());
  }

  private static void demand(boolean holds, Object seen) {
    if (!holds) throw new AssertionError(String.valueOf(seen));
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static String text(Message message) {
    demand(message != null, "no message");
    return new String(message.getData(), StandardCharsets.UTF_8);
  }

  /**
   * Waits until what the subscriber subscribed to before is known to the publisher's server. It is
   * not flushed: a client that says it has reconnected may still forget the answer that a flush
   * waits for, and the probe tells more anyway.
   */
  private static void settle(Connection publisher, Connection subscriber) throws Exception {
    String inbox = publisher.createInbox();
    Subscription probe = subscriber.subscribe(inbox);
    long end = System.nanoTime() + DEADLINE.toNanos();
    while (System.nanoTime() < end) {
      publisher.publish(inbox, bytes("probe"));
      publisher.flush(DEADLINE);
      if (probe.nextMessage(Duration.ofMillis(50)) != null) return;
    }
    throw new AssertionError("no probe arrived");
  }

  private static void pubSubAcrossNodes() throws Exception {
    try (Connection a = connect(0); Connection b = connect(2)) {
      Subscription subscription = b.subscribe("java.>");
      settle(a, b);
      for (int n = 0; n < 100; n++) a.publish("java." + n, bytes("" + n));
      for (int n = 0; n < 100; n++) {
        Message message = subscription.nextMessage(DEADLINE);
        demand(text(message).equals("" + n) && message.getSubject().equals("java." + n), message);
      }
    }
  }

  private static void requestReplyAcrossNodes() throws Exception {
    try (Connection a = connect(1); Connection b = connect(2)) {
      Dispatcher echo = b.createDispatcher(m -> b.publish(m.getReplyTo(), bytes(text(m) + "!")));
      echo.subscribe("java.echo");
      settle(a, b);
      for (int n = 0; n < 20; n++) {
        Message answer = a.request("java.echo", bytes("" + n), DEADLINE);
        demand(text(answer).equals(n + "!"), answer);
      }
    }
  }

  private static void noResponders() throws Exception {
    try (Connection a = connect(0)) {
      Message answer = a.request("java.nobody", bytes(""), DEADLINE);
      demand(answer == null, answer);
      try {
        Message late = a.request("java.nobody", bytes("")).get(10, TimeUnit.SECONDS);
        demand(late.isStatusMessage() && late.getStatus().getCode() == 503, late);
      } catch (CancellationException | ExecutionException expected) {
        // Told at once that there is nobody.
      }
    }
  }

  private static void headers() throws Exception {
    try (Connection a = connect(0); Connection b = connect(1)) {
      Subscription subscription = b.subscribe("java.headers");
      settle(a, b);
      Headers headers = new Headers().add("Color", "red", "blue").add("Trace", "42");
      a.publish(NatsMessage.builder().subject("java.headers").headers(headers).data("body").build());
      Message message = subscription.nextMessage(DEADLINE);
      demand(text(message).equals("body"), message);
      demand(message.getHeaders().get("Color").equals(List.of("red", "blue")), message.getHeaders());
      demand(message.getHeaders().getFirst("Trace").equals("42"), message.getHeaders());
    }
  }

  private static void queueGroupAcrossNodes() throws Exception {
    Connection[] clients = {connect(0), connect(1), connect(2)};
    AtomicInteger[] counts = {new AtomicInteger(), new AtomicInteger(), new AtomicInteger()};
    Set<String> seen = ConcurrentHashMap.newKeySet();
    CountDownLatch all = new CountDownLatch(300);
    for (int index = 0; index < clients.length; index++) {
      AtomicInteger count = counts[index];
      clients[index]
          .createDispatcher(
              message -> {
                count.incrementAndGet();
                if (seen.add(text(message))) all.countDown();
              })
          .subscribe("java.jobs", "workers");
    }
    for (Connection client : clients) settle(clients[0], client);
    for (int n = 0; n < 300; n++) clients[0].publish("java.jobs", bytes("" + n));
    demand(all.await(10, TimeUnit.SECONDS), seen.size());
    int sum = Arrays.stream(counts).mapToInt(AtomicInteger::get).sum();
    demand(sum == 300, "some came twice: " + sum);
    demand(Arrays.stream(counts).allMatch(count -> count.get() > 30), Arrays.toString(counts));
    for (Connection client : clients) client.close();
  }

  private static void oneMebibyte() throws Exception {
    try (Connection a = connect(0); Connection b = connect(2)) {
      demand(a.getMaxPayload() == 1048576, a.getMaxPayload());
      Subscription subscription = b.subscribe("java.big");
      settle(a, b);
      byte[] body = new byte[1048576];
      new Random(1).nextBytes(body);
      a.publish("java.big", body);
      Message message = subscription.nextMessage(DEADLINE);
      demand(message != null && Arrays.equals(message.getData(), body), message);
    }
  }

  private static void drain() throws Exception {
    try (Connection a = connect(0)) {
      Connection b = connect(0);
      AtomicInteger seen = new AtomicInteger();
      b.createDispatcher(message -> seen.incrementAndGet()).subscribe("java.drain");
      settle(a, b);
      for (int n = 0; n < 200; n++) a.publish("java.drain", bytes("" + n));
      settle(a, b);
      demand(b.drain(DEADLINE).get(10, TimeUnit.SECONDS), "not drained");
      demand(seen.get() == 200, seen);
      demand(b.getStatus() == Connection.Status.CLOSED, b.getStatus());
    }
  }

  /**
   * What the client knows of the server. A version with a "+" is none to it: what it switches on by
   * the version (JetStream, key-value) stays off.
   */
  private static void whatInfoSays() throws Exception {
    try (Connection a = connect(0)) {
      ServerInfo info = a.getServerInfo();
      demand(info.getVersion().startsWith("2.15."), info.getVersion());
      boolean isKnown = !info.getVersion().contains("+");
      demand(info.isSameOrNewerThanVersion("2.15.0") == isKnown, info.getVersion());
      demand(info.isHeadersSupported() && info.getProtocolVersion() == 1, info);
      demand(a.RTT().compareTo(DEADLINE) < 0, "no round trip");
    }
  }

  private static void reconnectByWhatInfoSays() throws Exception {
    CountDownLatch reconnected = new CountDownLatch(1);
    ConnectionListener listener =
        (connection, event) -> {
          if (event == ConnectionListener.Events.RECONNECTED) reconnected.countDown();
        };
    Options options =
        options(0).reconnectWait(Duration.ofMillis(50)).maxReconnects(-1).connectionListener(listener).build();
    try (Connection a = Nats.connect(options); Connection publisher = connect(2)) {
      Subscription subscription = a.subscribe("java.news");
      settle(publisher, a);
      demand(a.getServers().size() >= 3, a.getServers());
      ProcessHandle.of(Long.parseLong(System.getenv("NODE1_PID"))).orElseThrow().destroyForcibly();
      demand(reconnected.await(10, TimeUnit.SECONDS), "not reconnected");
      settle(publisher, a);
      publisher.publish("java.news", bytes("after"));
      demand(text(subscription.nextMessage(DEADLINE)).equals("after"), "another message");
    }
  }

  private static boolean passes(String name, Check check) {
    try {
      check.run();
      System.out.println("ok " + name);
      return true;
    } catch (Throwable error) {
      System.out.println("FAILED " + name + ": " + error);
      return false;
    }
  }

  public static void main(String[] arguments) {
    boolean good = passes("pub sub across nodes", Interop::pubSubAcrossNodes);
    good &= passes("request reply across nodes", Interop::requestReplyAcrossNodes);
    good &= passes("no responders", Interop::noResponders);
    good &= passes("headers", Interop::headers);
    good &= passes("queue group across nodes", Interop::queueGroupAcrossNodes);
    good &= passes("one mebibyte", Interop::oneMebibyte);
    good &= passes("drain", Interop::drain);
    good &= passes("what info says", Interop::whatInfoSays);
    good &= passes("reconnect by what info says", Interop::reconnectByWhatInfoSays);
    System.out.println("done");
    System.exit(good ? 0 : 1);
  }
}
