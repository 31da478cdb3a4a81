"""nats-py against a cluster of three. NATS_URLS: their URLs. NODE1_PID: the first one's process."""

import asyncio
import os
import signal
import sys
import time

import nats
from nats.errors import NoRespondersError

URLS = os.environ["NATS_URLS"].split(",")
DEADLINE = 10


async def settle(publisher, subscriber):
    """Waits until what the subscriber subscribed to before is known to the publisher's server."""
    inbox = publisher.new_inbox()
    probe = await subscriber.subscribe(inbox)
    await subscriber.flush()
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        await publisher.publish(inbox, b"probe")
        await publisher.flush()
        try:
            await probe.next_msg(timeout=0.05)
            return
        except nats.errors.TimeoutError:
            continue
    raise AssertionError("no probe arrived")


async def pub_sub_across_nodes():
    a, b = await nats.connect(URLS[0]), await nats.connect(URLS[2])
    sub = await b.subscribe("py.>")
    await settle(a, b)
    for n in range(100):
        await a.publish(f"py.{n}", str(n).encode())
    await a.flush()
    for n in range(100):
        message = await sub.next_msg(timeout=DEADLINE)
        assert (message.subject, message.data) == (f"py.{n}", str(n).encode()), message
    await a.close()
    await b.close()


async def request_reply_across_nodes():
    a, b = await nats.connect(URLS[1]), await nats.connect(URLS[2])

    async def echo(message):
        await message.respond(message.data + b"!")

    await b.subscribe("py.echo", cb=echo)
    await settle(a, b)
    for n in range(20):
        answer = await a.request("py.echo", str(n).encode(), timeout=DEADLINE)
        assert answer.data == f"{n}!".encode(), answer
    await a.close()
    await b.close()


async def no_responders():
    a = await nats.connect(URLS[0])
    try:
        await a.request("py.nobody", b"", timeout=DEADLINE)
        raise AssertionError("answered")
    except NoRespondersError:
        pass
    await a.close()


async def headers():
    a, b = await nats.connect(URLS[0]), await nats.connect(URLS[1])
    sub = await b.subscribe("py.headers")
    await settle(a, b)
    await a.publish("py.headers", b"body", headers={"Color": "red", "Trace": "42"})
    message = await sub.next_msg(timeout=DEADLINE)
    assert message.headers == {"Color": "red", "Trace": "42"}, message.headers
    assert message.data == b"body"
    await a.close()
    await b.close()


async def queue_group_across_nodes():
    clients = [await nats.connect(url) for url in URLS]
    counts = [0, 0, 0]
    seen = set()

    def member(index):
        async def work(message):
            counts[index] += 1
            assert message.data not in seen, "twice"
            seen.add(message.data)

        return work

    for index, client in enumerate(clients):
        await client.subscribe("py.jobs", queue="workers", cb=member(index))
    for client in clients:
        await settle(clients[0], client)
    for n in range(300):
        await clients[0].publish("py.jobs", str(n).encode())
    await clients[0].flush()
    end = time.monotonic() + DEADLINE
    while len(seen) < 300 and time.monotonic() < end:
        await asyncio.sleep(0.01)
    assert len(seen) == 300, len(seen)
    assert min(counts) > 30, counts
    for client in clients:
        await client.close()


async def one_mebibyte():
    a, b = await nats.connect(URLS[0]), await nats.connect(URLS[2])
    assert a.max_payload == 1048576
    sub = await b.subscribe("py.big")
    await settle(a, b)
    body = os.urandom(1048576)
    await a.publish("py.big", body)
    message = await sub.next_msg(timeout=DEADLINE)
    assert message.data == body
    await a.close()
    await b.close()


async def unsubscribe_after_some():
    a = await nats.connect(URLS[0])
    seen = []

    async def take(message):
        seen.append(message.data)

    sub = await a.subscribe("py.few", cb=take)
    await sub.unsubscribe(limit=2)
    for n in range(5):
        await a.publish("py.few", str(n).encode())
    await settle(a, a)
    assert seen == [b"0", b"1"], seen
    await a.close()


async def drain():
    a, b = await nats.connect(URLS[0]), await nats.connect(URLS[0])
    seen = []

    async def take(message):
        seen.append(message.data)

    await b.subscribe("py.drain", cb=take)
    await settle(a, b)
    for n in range(200):
        await a.publish("py.drain", str(n).encode())
    await settle(a, b)
    await b.drain()
    assert len(seen) == 200, len(seen)
    await a.close()


async def reconnect_by_what_info_says():
    reconnected = asyncio.Event()

    async def on_reconnect():
        reconnected.set()

    async def on_error(_error):
        """The cut and the refused attempts at the dead node are what this is about."""

    a = await nats.connect(
        URLS[0],
        reconnected_cb=on_reconnect,
        error_cb=on_error,
        reconnect_time_wait=0.05,
        max_reconnect_attempts=-1,
    )
    publisher = await nats.connect(URLS[2])
    sub = await a.subscribe("py.news")
    await settle(publisher, a)
    assert len(a.discovered_servers) >= 2, a.discovered_servers
    os.kill(int(os.environ["NODE1_PID"]), signal.SIGKILL)
    await asyncio.wait_for(reconnected.wait(), DEADLINE)
    await settle(publisher, a)
    await publisher.publish("py.news", b"after")
    message = await sub.next_msg(timeout=DEADLINE)
    assert message.data == b"after"
    await a.close()
    await publisher.close()


async def main():
    failed = 0
    for check in (
        pub_sub_across_nodes,
        request_reply_across_nodes,
        no_responders,
        headers,
        queue_group_across_nodes,
        one_mebibyte,
        unsubscribe_after_some,
        drain,
        reconnect_by_what_info_says,
    ):
        name = check.__name__.replace("_", " ")
        try:
            await asyncio.wait_for(check(), 60)
            print("ok", name, flush=True)
        except Exception as error:
            failed += 1
            print("FAILED", f"{name}: {type(error).__name__}: {error}", flush=True)
    print("done", flush=True)
    return failed


sys.exit(1 if asyncio.run(main()) else 0)
