// @nats-io/transport-node against a cluster of three. NATS_URLS: their URLs. NODE1_PID: the
// first one's process.

import { strict as assert } from "node:assert";
import { randomBytes } from "node:crypto";
import { connect, createInbox, errors, headers } from "@nats-io/transport-node";

const urls = process.env.NATS_URLS.split(",");
const DEADLINE = 10_000;

const dial = (url, more = {}) =>
  connect({ servers: url, reconnectTimeWait: 50, maxReconnectAttempts: -1, ...more });

/** Waits until what the subscriber subscribed to before is known to the publisher's server. */
async function settle(publisher, subscriber) {
  const inbox = createInbox();
  let arrived = false;
  const probe = subscriber.subscribe(inbox, { callback: () => (arrived = true) });
  await subscriber.flush();
  const end = Date.now() + DEADLINE;
  while (!arrived) {
    assert(Date.now() < end, "no probe arrived");
    publisher.publish(inbox, "probe");
    await publisher.flush();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  probe.unsubscribe();
}

/** The next `count` messages of a subscription. */
async function take(subscription, count) {
  const messages = [];
  const timer = setTimeout(() => subscription.unsubscribe(), DEADLINE);
  for await (const message of subscription) {
    messages.push(message);
    if (messages.length === count) break;
  }
  clearTimeout(timer);
  assert.equal(messages.length, count);
  return messages;
}

const checks = {
  async "pub sub across nodes"() {
    const [a, b] = [await dial(urls[0]), await dial(urls[2])];
    const sub = b.subscribe("js.>");
    await settle(a, b);
    for (let n = 0; n < 100; n++) a.publish(`js.${n}`, `${n}`);
    const messages = await take(sub, 100);
    messages.forEach((message, n) => {
      assert.equal(message.subject, `js.${n}`);
      assert.equal(message.string(), `${n}`);
    });
    await a.close();
    await b.close();
  },

  async "request reply across nodes"() {
    const [a, b] = [await dial(urls[1]), await dial(urls[2])];
    b.subscribe("js.echo", { callback: (_, message) => message.respond(message.data) });
    await settle(a, b);
    for (let n = 0; n < 20; n++) {
      const answer = await a.request("js.echo", `${n}`, { timeout: DEADLINE });
      assert.equal(answer.string(), `${n}`);
    }
    await a.close();
    await b.close();
  },

  async "no responders"() {
    const a = await dial(urls[0]);
    await assert.rejects(
      a.request("js.nobody", "", { timeout: DEADLINE }),
      (error) =>
        error instanceof errors.NoRespondersError ||
        error.cause instanceof errors.NoRespondersError,
    );
    await a.close();
  },

  async "headers"() {
    const [a, b] = [await dial(urls[0]), await dial(urls[1])];
    const sub = b.subscribe("js.headers");
    await settle(a, b);
    const sent = headers();
    sent.append("Color", "red");
    sent.append("Color", "blue");
    a.publish("js.headers", "body", { headers: sent });
    const [message] = await take(sub, 1);
    assert.deepEqual(message.headers.values("Color"), ["red", "blue"]);
    assert.equal(message.string(), "body");
    await a.close();
    await b.close();
  },

  async "queue group across nodes"() {
    const clients = await Promise.all(urls.map((url) => dial(url)));
    const counts = [0, 0, 0];
    const seen = new Set();
    clients.forEach((client, index) => {
      client.subscribe("js.jobs", {
        queue: "workers",
        callback: (_, message) => {
          counts[index]++;
          seen.add(message.string());
        },
      });
    });
    for (const client of clients) await settle(clients[0], client);
    for (let n = 0; n < 300; n++) clients[0].publish("js.jobs", `${n}`);
    for (const client of clients) await settle(clients[0], client);
    assert.equal(seen.size, 300);
    assert.equal(counts[0] + counts[1] + counts[2], 300);
    assert(Math.min(...counts) > 30, `${counts}`);
    for (const client of clients) await client.close();
  },

  async "one mebibyte"() {
    const [a, b] = [await dial(urls[0]), await dial(urls[2])];
    assert.equal(a.info.max_payload, 1048576);
    const sub = b.subscribe("js.big");
    await settle(a, b);
    const body = randomBytes(1048576);
    a.publish("js.big", body);
    const [message] = await take(sub, 1);
    assert(Buffer.from(message.data).equals(body));
    await a.close();
    await b.close();
  },

  async "unsubscribe after some"() {
    const a = await dial(urls[0]);
    const seen = [];
    a.subscribe("js.few", { max: 2, callback: (_, message) => seen.push(message.string()) });
    for (let n = 0; n < 5; n++) a.publish("js.few", `${n}`);
    await settle(a, a);
    assert.deepEqual(seen, ["0", "1"]);
    await a.close();
  },

  async "drain"() {
    const [a, b] = [await dial(urls[0]), await dial(urls[0])];
    let seen = 0;
    b.subscribe("js.drain", { callback: () => seen++ });
    await settle(a, b);
    for (let n = 0; n < 200; n++) a.publish("js.drain", `${n}`);
    await a.flush();
    await settle(a, b);
    await b.drain();
    assert.equal(seen, 200);
    await a.close();
  },

  async "reconnect by what INFO says"() {
    const a = await dial(urls[0], { ignoreClusterUpdates: false });
    const publisher = await dial(urls[2]);
    const sub = a.subscribe("js.news");
    await settle(publisher, a);
    assert.equal(a.info.connect_urls.length, 3);
    const reconnected = (async () => {
      for await (const status of a.status()) if (status.type === "reconnect") return;
    })();
    process.kill(Number(process.env.NODE1_PID), "SIGKILL");
    await reconnected;
    await settle(publisher, a);
    publisher.publish("js.news", "after");
    const [message] = await take(sub, 1);
    assert.equal(message.string(), "after");
    await a.close();
    await publisher.close();
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("took over 60 s")), 60_000);
  });
  try {
    await Promise.race([check(), late]);
    console.log("ok", name);
  } catch (error) {
    failed++;
    console.log("FAILED", `${name}: ${error.message.split("\n")[0]}`);
  }
  clearTimeout(timer);
}
console.log("done");
process.exit(failed ? 1 : 0);
