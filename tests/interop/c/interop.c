// libnats (nats.c) against a cluster of three. NATS_URLS: their URLs. NODE1_PID: the first one's
// process.

#include <nats/nats.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE 10000

static char urls[3][128];
static char why[256];

// A step that fails ends its check, with the step's own text as the reason.
#define MUST(step)                                                     \
    do {                                                               \
        natsStatus s_ = (step);                                        \
        if (s_ != NATS_OK) {                                           \
            snprintf(why, sizeof why, "%s: %s", #step, natsStatus_GetText(s_)); \
            return 0;                                                  \
        }                                                              \
    } while (0)
#define CHECK(condition)                                               \
    do {                                                               \
        if (!(condition)) {                                            \
            snprintf(why, sizeof why, "not %s", #condition);           \
            return 0;                                                  \
        }                                                              \
    } while (0)

// Waits until what `to` subscribed to before is known to the server of `from`.
static natsStatus settle(natsConnection *from, natsConnection *to) {
    natsInbox *inbox = NULL;
    natsSubscription *probe = NULL;
    natsMsg *msg = NULL;
    natsStatus s = natsInbox_Create(&inbox);
    if (s == NATS_OK) s = natsConnection_SubscribeSync(&probe, to, inbox);
    if (s == NATS_OK) s = natsConnection_Flush(to);
    for (int tries = 0; s == NATS_OK && tries < DEADLINE / 20; tries++) {
        s = natsConnection_PublishString(from, inbox, "probe");
        if (s == NATS_OK) s = natsConnection_Flush(from);
        if (s != NATS_OK) break;
        s = natsSubscription_NextMsg(&msg, probe, 20);
        if (s == NATS_OK) break;
        if (s == NATS_TIMEOUT) s = tries + 1 < DEADLINE / 20 ? NATS_OK : NATS_TIMEOUT;
    }
    natsMsg_Destroy(msg);
    natsSubscription_Destroy(probe);
    natsInbox_Destroy(inbox);
    return s;
}

static int pub_sub_across_nodes(void) {
    natsConnection *a = NULL, *b = NULL;
    natsSubscription *sub = NULL;
    MUST(natsConnection_ConnectTo(&a, urls[0]));
    MUST(natsConnection_ConnectTo(&b, urls[2]));
    MUST(natsConnection_SubscribeSync(&sub, b, "c.>"));
    MUST(settle(a, b));
    char subject[32], text[32];
    for (int n = 0; n < 100; n++) {
        snprintf(subject, sizeof subject, "c.%d", n);
        snprintf(text, sizeof text, "%d", n);
        MUST(natsConnection_PublishString(a, subject, text));
    }
    for (int n = 0; n < 100; n++) {
        natsMsg *msg = NULL;
        MUST(natsSubscription_NextMsg(&msg, sub, DEADLINE));
        snprintf(subject, sizeof subject, "c.%d", n);
        CHECK(strcmp(natsMsg_GetSubject(msg), subject) == 0);
        natsMsg_Destroy(msg);
    }
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(a);
    natsConnection_Destroy(b);
    return 1;
}

static void echo(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    (void)sub;
    (void)closure;
    natsConnection_Publish(nc, natsMsg_GetReply(msg), natsMsg_GetData(msg),
                           natsMsg_GetDataLength(msg));
    natsMsg_Destroy(msg);
}

static int request_reply_across_nodes(void) {
    natsConnection *a = NULL, *b = NULL;
    natsSubscription *sub = NULL;
    MUST(natsConnection_ConnectTo(&a, urls[1]));
    MUST(natsConnection_ConnectTo(&b, urls[2]));
    MUST(natsConnection_Subscribe(&sub, b, "c.echo", echo, NULL));
    MUST(settle(a, b));
    for (int n = 0; n < 20; n++) {
        natsMsg *answer = NULL;
        MUST(natsConnection_RequestString(&answer, a, "c.echo", "hello", DEADLINE));
        CHECK(strcmp(natsMsg_GetData(answer), "hello") == 0);
        natsMsg_Destroy(answer);
    }
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(a);
    natsConnection_Destroy(b);
    return 1;
}

static int no_responders(void) {
    natsConnection *a = NULL;
    natsMsg *answer = NULL;
    MUST(natsConnection_ConnectTo(&a, urls[0]));
    natsStatus s = natsConnection_RequestString(&answer, a, "c.nobody", "", DEADLINE);
    CHECK(s == NATS_NO_RESPONDERS);
    natsConnection_Destroy(a);
    return 1;
}

static int headers(void) {
    natsConnection *a = NULL, *b = NULL;
    natsSubscription *sub = NULL;
    natsMsg *msg = NULL, *got = NULL;
    const char *value = NULL;
    MUST(natsConnection_ConnectTo(&a, urls[0]));
    MUST(natsConnection_ConnectTo(&b, urls[1]));
    MUST(natsConnection_SubscribeSync(&sub, b, "c.headers"));
    MUST(settle(a, b));
    MUST(natsMsg_Create(&msg, "c.headers", NULL, "body", 4));
    MUST(natsMsgHeader_Set(msg, "Color", "red"));
    MUST(natsConnection_PublishMsg(a, msg));
    MUST(natsSubscription_NextMsg(&got, sub, DEADLINE));
    MUST(natsMsgHeader_Get(got, "Color", &value));
    CHECK(strcmp(value, "red") == 0);
    CHECK(natsMsg_GetDataLength(got) == 4);
    natsMsg_Destroy(msg);
    natsMsg_Destroy(got);
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(a);
    natsConnection_Destroy(b);
    return 1;
}

static int queue_group_across_nodes(void) {
    natsConnection *nc[3] = {NULL};
    natsSubscription *sub[3] = {NULL};
    for (int n = 0; n < 3; n++) {
        MUST(natsConnection_ConnectTo(&nc[n], urls[n]));
        MUST(natsConnection_QueueSubscribeSync(&sub[n], nc[n], "c.jobs", "workers"));
        MUST(settle(nc[0], nc[n]));
    }
    for (int n = 0; n < 300; n++) MUST(natsConnection_PublishString(nc[0], "c.jobs", "x"));
    int total = 0;
    for (int n = 0; n < 3; n++) {
        MUST(settle(nc[0], nc[n]));
        int share = 0;
        natsMsg *msg = NULL;
        while (natsSubscription_NextMsg(&msg, sub[n], 1) == NATS_OK) {
            natsMsg_Destroy(msg);
            share++;
        }
        CHECK(share > 30);
        total += share;
    }
    CHECK(total == 300);
    for (int n = 0; n < 3; n++) {
        natsSubscription_Destroy(sub[n]);
        natsConnection_Destroy(nc[n]);
    }
    return 1;
}

static int one_mebibyte(void) {
    static char body[1048576];
    natsConnection *a = NULL, *b = NULL;
    natsSubscription *sub = NULL;
    natsMsg *msg = NULL;
    for (size_t n = 0; n < sizeof body; n++) body[n] = (char)(n * 31 + n / 251);
    MUST(natsConnection_ConnectTo(&a, urls[0]));
    MUST(natsConnection_ConnectTo(&b, urls[2]));
    CHECK(natsConnection_GetMaxPayload(a) == sizeof body);
    MUST(natsConnection_SubscribeSync(&sub, b, "c.big"));
    MUST(settle(a, b));
    MUST(natsConnection_Publish(a, "c.big", body, sizeof body));
    MUST(natsSubscription_NextMsg(&msg, sub, DEADLINE));
    CHECK(natsMsg_GetDataLength(msg) == sizeof body);
    CHECK(memcmp(natsMsg_GetData(msg), body, sizeof body) == 0);
    natsMsg_Destroy(msg);
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(a);
    natsConnection_Destroy(b);
    return 1;
}

static int unsubscribe_after_some(void) {
    natsConnection *a = NULL;
    natsSubscription *sub = NULL;
    natsMsg *msg = NULL;
    MUST(natsConnection_ConnectTo(&a, urls[0]));
    MUST(natsConnection_SubscribeSync(&sub, a, "c.few"));
    MUST(natsSubscription_AutoUnsubscribe(sub, 2));
    for (int n = 0; n < 5; n++) MUST(natsConnection_PublishString(a, "c.few", "x"));
    for (int n = 0; n < 2; n++) {
        MUST(natsSubscription_NextMsg(&msg, sub, DEADLINE));
        natsMsg_Destroy(msg);
    }
    CHECK(natsSubscription_NextMsg(&msg, sub, DEADLINE) == NATS_MAX_DELIVERED_MSGS);
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(a);
    return 1;
}

static int reconnect_by_what_info_says(void) {
    natsConnection *a = NULL, *b = NULL;
    natsOptions *opts = NULL;
    natsSubscription *sub = NULL;
    natsMsg *msg = NULL;
    MUST(natsOptions_Create(&opts));
    MUST(natsOptions_SetURL(opts, urls[0]));
    MUST(natsOptions_SetReconnectWait(opts, 50));
    MUST(natsOptions_SetMaxReconnect(opts, 10000));
    MUST(natsConnection_Connect(&a, opts));
    MUST(natsConnection_ConnectTo(&b, urls[2]));
    MUST(natsConnection_SubscribeSync(&sub, a, "c.news"));
    MUST(settle(b, a));
    CHECK(kill(atoi(getenv("NODE1_PID")), SIGKILL) == 0);
    // The first publishes may meet the cut; settle goes on until one gets through.
    for (int tries = 0; tries < 500; tries++) {
        natsStatistics *stats = NULL;
        uint64_t reconnects = 0;
        MUST(natsStatistics_Create(&stats));
        MUST(natsConnection_GetStats(a, stats));
        MUST(natsStatistics_GetCounts(stats, NULL, NULL, NULL, NULL, &reconnects));
        natsStatistics_Destroy(stats);
        if (reconnects > 0) break;
        nats_Sleep(20);
    }
    MUST(settle(b, a));
    MUST(natsConnection_PublishString(b, "c.news", "after"));
    MUST(natsSubscription_NextMsg(&msg, sub, DEADLINE));
    CHECK(strcmp(natsMsg_GetData(msg), "after") == 0);
    natsMsg_Destroy(msg);
    natsSubscription_Destroy(sub);
    natsOptions_Destroy(opts);
    natsConnection_Destroy(a);
    natsConnection_Destroy(b);
    return 1;
}

int main(void) {
    struct {
        const char *name;
        int (*check)(void);
    } checks[] = {
        {"pub sub across nodes", pub_sub_across_nodes},
        {"request reply across nodes", request_reply_across_nodes},
        {"no responders", no_responders},
        {"headers", headers},
        {"queue group across nodes", queue_group_across_nodes},
        {"one mebibyte", one_mebibyte},
        {"unsubscribe after some", unsubscribe_after_some},
        {"reconnect by what INFO says", reconnect_by_what_info_says},
    };
    if (sscanf(getenv("NATS_URLS"), "%127[^,],%127[^,],%127s", urls[0], urls[1], urls[2]) != 3) {
        return 2;
    }
    int failed = 0;
    for (size_t n = 0; n < sizeof checks / sizeof *checks; n++) {
        if (checks[n].check()) {
            printf("ok %s\n", checks[n].name);
        } else {
            failed++;
            printf("FAILED %s: %s\n", checks[n].name, why);
        }
        fflush(stdout);
    }
    printf("done\n");
    return failed ? 1 : 0;
}
