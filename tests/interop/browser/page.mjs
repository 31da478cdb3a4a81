// @nats-io/nats-core in a browser page, against a cluster of three. The page is given
// `wsUrls`, `compressed`, `report(line)` and `killNode1()`.

import { createInbox, errors, headers, wsconnect } from "@nats-io/nats-core";

const DEADLINE = 10_000;

const assert = (condition, text) => {
  if (!condition) throw new Error(text);
};

/** Every WebSocket of the page, to ask what was agreed on. */
const sockets = [];
const Plain = globalThis.WebSocket;
globalThis.WebSocket = class extends Plain {
  constructor(...given) {
    super(...given);
    sockets.push(this);
  }
};

const dial = (url, more = {}) =>
  wsconnect({ servers: url, reconnectTimeWait: 50, maxReconnectAttempts: -1, ...more });

async function until(what, condition) {
  const end = Date.now() + DEADLINE;
  while (!(await condition())) {
    assert(Date.now() < end, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Waits until what the subscriber subscribed to before is known to the publisher's server. */
async function settle(publisher, subscriber) {
  const inbox = createInbox();
  let arrived = false;
  const probe = subscriber.subscribe(inbox, { callback: () => (arrived = true) });
  await subscriber.flush();
  await until("a probe arrives", async () => {
    publisher.publish(inbox, "probe");
    await publisher.flush();
    return arrived;
  });
  probe.unsubscribe();
}

const checks = {
  async "connect, and what was agreed on"() {
    const before = sockets.length;
    const a = await dial(wsUrls[0]);
    await until("all listeners are known", () => a.info.connect_urls?.length === 3);
    const agreed = sockets[before].extensions.includes("permessage-deflate");
    assert(agreed === compressed, `extensions: ${sockets[before].extensions}`);
    const known = a.info.connect_urls.map((url) => url.split(":")[1]).sort();
    const wanted = wsUrls.map((url) => url.split(":")[2]).sort();
    assert(`${known}` === `${wanted}`, `${known} are not ${wanted}`);
    await a.close();
  },

  async "pub sub across nodes"() {
    const [a, b] = [await dial(wsUrls[0]), await dial(wsUrls[2])];
    const heard = [];
    b.subscribe("js.>", { callback: (_, message) => heard.push(message) });
    await settle(a, b);
    for (let n = 0; n < 500; n++) a.publish(`js.${n}`, `${n}`);
    await until("all messages", () => heard.length === 500);
    heard.forEach((message, n) => {
      assert(message.subject === `js.${n}` && message.string() === `${n}`, `message ${n}`);
    });
    await Promise.all([a.close(), b.close()]);
  },

  async "request reply across nodes"() {
    const [a, b] = [await dial(wsUrls[1]), await dial(wsUrls[2])];
    b.subscribe("js.echo", { callback: (_, message) => message.respond(message.data) });
    await settle(a, b);
    for (let n = 0; n < 20; n++) {
      const answer = await a.request("js.echo", `${n}`, { timeout: DEADLINE });
      assert(answer.string() === `${n}`, `answer ${n}`);
    }
    await Promise.all([a.close(), b.close()]);
  },

  async "headers"() {
    const [a, b] = [await dial(wsUrls[0]), await dial(wsUrls[1])];
    let heard;
    b.subscribe("js.headers", { callback: (_, message) => (heard = message) });
    await settle(a, b);
    const given = headers();
    given.append("Key", "a");
    given.append("Key", "ü");
    a.publish("js.headers", "body", { headers: given });
    await until("the message", () => heard);
    assert(`${heard.headers.values("Key")}` === "a,ü", `${heard.headers}`);
    await Promise.all([a.close(), b.close()]);
  },

  async "large messages"() {
    const [a, b] = [await dial(wsUrls[0]), await dial(wsUrls[2])];
    const noise = new Uint8Array(500_000).map((_, n) => (n * 2654435761) >>> 13);
    const bodies = [noise, new Uint8Array(900_000)];
    const heard = [];
    b.subscribe("js.large", { callback: (_, message) => heard.push(message.data) });
    await settle(a, b);
    // One by one: a compressed frame may hold no more than max_payload, whatever is in it.
    for (const body of bodies) {
      a.publish("js.large", body);
      await a.flush();
    }
    await until("both messages", () => heard.length === 2);
    bodies.forEach((body, n) => {
      assert(heard[n].length === body.length, `length of ${n}`);
      assert(heard[n].every((byte, at) => byte === body[at]), `bytes of ${n}`);
    });
    await Promise.all([a.close(), b.close()]);
  },

  async "no responders"() {
    const a = await dial(wsUrls[0]);
    const error = await a.request("js.nobody", "", { timeout: DEADLINE }).catch((error) => error);
    const none = errors.NoRespondersError;
    assert(error instanceof none || error.cause instanceof none, `${error}`);
    await a.close();
  },

  async "reconnect to another node"() {
    const [a, b] = [await dial(wsUrls[0]), await dial(wsUrls[2])];
    await until("the others are known", () => a.info.connect_urls?.length === 3);
    const first = a.getServer();
    const heard = [];
    a.subscribe("js.after", { callback: (_, message) => heard.push(message.string()) });
    await settle(b, a);
    await killNode1();
    const gone = Number(first.split(":").pop());
    await until("it is elsewhere", () => !a.isClosed() && a.info.port !== gone);
    await until("messages arrive again", async () => {
      b.publish("js.after", "here");
      await b.flush();
      return heard.length > 0;
    });
    await Promise.all([a.close(), b.close()]);
  },
};

(async () => {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      await report(`ok ${name}`);
    } catch (error) {
      await report(`FAILED ${name}: ${error.stack ?? error}`.replaceAll("\n", " "));
    }
  }
  await report("done");
})();
