//! Which keys there are, and what may stand behind them.

/// Blocks: their keys, each with what may stand behind it.
///
/// Alternatives are divided by `|`: `{block}`, `[x]` a list of alternatives `x`, `<pool>`, a
/// `"string"`, or anything else as it is. A key with `!` is hardly ever left out, one with
/// `?` is hardly ever there.
pub(super) const BLOCKS: &[(&str, &[(&str, &str)])] = &[
    (
        "top",
        &[
            ("listen", "\"127.0.0.1:-1\" | -1 | \"0.0.0.0:4222\""),
            ("host/net", "\"127.0.0.1\" | \"localhost\""),
            ("port", "4222 | -1 | 0"),
            ("client_advertise", "\"me:4222\" | \"me\" | \"1.2.3.4:5\" | \"a:b:c\""),
            ("server_name", "<word> | \"with space\""),
            ("debug", "<bool>"),
            // Each sets what the others say: the last one wins, in an order that changes.
            ("trace/trace_verbose/trace_headers", "<bool>"),
            ("logtime", "<bool>"),
            ("logtime_utc", "<bool>"),
            ("log_size_limit/logfile_size_limit", "<size>"),
            ("log_max_num/logfile_max_num", "<limit>"),
            ("max_traced_msg_len", "<limit>"),
            ("http_port/monitor_port", "8222 | -1 | 0"),
            ("http_base_path", "\"/a\" | \"a/b/\" | \"\" | \"/\""),
            ("max_connections/max_conn", "<limit>"),
            ("max_subscriptions/max_subs", "<limit>"),
            ("max_sub_tokens/max_subscription_tokens", "<count> | 255 | 256 | 8"),
            ("max_control_line", "<size>"),
            ("max_payload", "<size>"),
            ("max_pending", "<size> | 128mb"),
            ("max_closed_clients", "<limit>"),
            ("ping_interval", "<long>"),
            ("ping_max", "<limit>"),
            ("write_deadline", "<duration>"),
            ("write_timeout", "\"default\" | \"close\" | \"retry\" | \"Retry\""),
            ("no_fast_producer_stall", "<bool>"),
            ("disable_sublist_cache/no_sublist_cache", "<bool>"),
            ("no_header_support", "<bool>"),
            ("lame_duck_duration", "<duration> | \"30s\" | \"4m\" | \"29.9s\""),
            ("lame_duck_grace_period", "<duration>"),
            ("server_tags", "<word> | [<word>] | \"a b\""),
            ("server_metadata", "{metadata}"),
            ("connect_error_reports", "<limit>"),
            ("reconnect_error_reports", "<limit>"),
            ("tls", "{tls}"),
            ("allow_non_tls", "<bool>"),
            ("authorization", "{authorization}"),
            ("authorization", "{users}"),
            ("accounts", "{accounts}"),
            ("accounts", "{accounts}"),
            ("accounts", "[<account>]"),
            ("mappings/maps", "{mappings}"),
            ("no_auth_user", "<user>"),
            ("system_account/system", "<account> | \"SYS\""),
            ("no_system_account/no_system/no_sys_acc", "<bool>"),
            ("cluster", "{cluster}"),
            ("cluster", "{cluster}"),
            ("websocket/ws", "{websocket}"),
            ("proxies", "{proxies}"),
            ("resolver/account_resolver", "MEMORY | \"URL(http://127.0.0.1:1/)\" | {resolver}"),
            ("resolver_preload", "{metadata}"),
            ("trusted_keys/trusted", "<nkey> | [<nkey>]"),
            ("default_sentinel", "<word>"),
        ],
    ),
    (
        "cluster",
        &[
            ("name", "<word>"),
            ("!listen", "\"127.0.0.1:-1\""),
            ("host/net", "\"127.0.0.1\""),
            ("authorization", "{cluster_authorization}"),
            ("routes", "[<url>]"),
            ("advertise/cluster_advertise", "\"me:6222\" | \"me\" | \"a:b:c\""),
            ("no_advertise", "<bool>"),
            ("connect_retries", "<count>"),
            ("connect_backoff", "<bool>"),
            ("pool_size", "<count> | 1 | -1"),
            ("accounts", "[<account>]"),
            (
                "compression",
                "<bool> | \"accept\" | \"s2_auto\" | \"fast\" | \"best\" | \"Off\" | \"weird\" | {compression}",
            ),
            ("ping_interval", "<duration>"),
            ("ping_max", "<count>"),
            ("permissions", "{cluster_permissions}"),
            ("write_deadline", "<duration>"),
            ("write_timeout", "\"default\" | \"close\" | \"retry\""),
        ],
    ),
    (
        "compression",
        &[
            ("mode", "\"s2_auto\" | \"auto\" | \"off\" | \"on\" | true"),
            ("rtt_thresholds/thresholds/rtts/rtt", "[<duration>]"),
        ],
    ),
    (
        "cluster_authorization",
        &[
            ("!user/username", "<user>"),
            ("!password/pass", "<word>"),
            ("timeout", "<seconds>"),
            ("permissions", "{cluster_permissions}"),
            ("?token", "<word>"),
            ("?users", "[{user}]"),
        ],
    ),
    (
        "cluster_permissions",
        &[
            ("import/publish/pub", "<subject> | [<subject>] | {allow_deny}"),
            ("export/subscribe/sub", "<subject> | [<subject>] | {allow_deny}"),
        ],
    ),
    (
        "authorization",
        &[
            ("user/username", "<user>"),
            ("password/pass", "<word> | <hash>"),
            ("token", "<word> | <hash>"),
            ("timeout", "<seconds>"),
            ("users", "[{user}]"),
            ("default_permissions/permissions/default_permission", "{permissions}"),
            ("proxy_required", "<bool>"),
            ("auth_callout/auth_hook", "{callout}"),
        ],
    ),
    (
        "users",
        &[
            ("!users", "[{user}]"),
            ("timeout", "<seconds>"),
            ("default_permissions", "{permissions}"),
            ("auth_callout", "{callout}"),
        ],
    ),
    (
        "callout",
        &[
            ("!issuer", "<account_nkey>"),
            ("account", "<account>"),
            ("!auth_users/users", "[<user>]"),
            ("xkey", "<xkey>"),
            ("allowed_accounts", "[<account>]"),
        ],
    ),
    (
        "user",
        &[
            ("!user/username", "<user>"),
            ("!password/pass", "<word> | <hash>"),
            ("permissions/permission/authorization", "{permissions}"),
            (
                "allowed_connection_types/connection_types/clients",
                "[\"STANDARD\" | \"websocket\" | \"MQTT\" | \"LEAFNODE\" | \"IN_PROCESS\" | \"nothing\"]",
            ),
            ("proxy_required", "<bool>"),
            ("?nkey", "<nkey>"),
        ],
    ),
    ("user", &[("!nkey", "<nkey>"), ("permissions", "{permissions}")]),
    (
        "permissions",
        &[
            ("publish/pub/import", "<subject> | [<subject>] | {allow_deny}"),
            ("subscribe/sub/export", "<queued> | [<queued>] | {queued_allow_deny}"),
            ("allow_responses/publish_allow_responses", "<bool> | {responses}"),
        ],
    ),
    ("allow_deny", &[("allow", "<subject> | [<subject>]"), ("deny", "<subject> | [<subject>]")]),
    ("queued_allow_deny", &[("allow", "<queued> | [<queued>]"), ("deny", "<queued> | [<queued>]")]),
    (
        "responses",
        &[
            ("max/max_msgs/max_messages/max_responses", "<count> | -1"),
            ("expires/expiration/ttl", "<duration> | \"-1s\""),
        ],
    ),
    (
        "accounts",
        &[
            ("!A", "{exporter}"),
            ("B", "{account}"),
            ("C", "{account}"),
            ("SYS", "{users_only}"),
            ("$G", "{users_only}"),
        ],
    ),
    ("users_only", &[("!users", "[{user}]")]),
    (
        "exporter",
        &[
            ("!exports", "[{export}]"),
            ("users", "[{user}]"),
            ("mappings/maps", "{mappings}"),
            ("imports", "[{import}]"),
        ],
    ),
    (
        "account",
        &[
            ("users", "[{user}]"),
            ("nkey", "<account_nkey>"),
            ("default_permissions/permissions", "{permissions}"),
            ("exports", "[{export}]"),
            ("imports", "[{import}]"),
            ("mappings/maps", "{mappings}"),
            ("limits", "{limits}"),
            ("msg_trace/trace_dest", "\"trace.to\" | {trace}"),
        ],
    ),
    (
        "limits",
        &[
            ("max_connections/max_conn", "<count>"),
            ("max_subscriptions/max_subs", "<count>"),
            ("max_payload/max_pay", "<size>"),
            ("max_leafnodes/max_leafs", "<count>"),
        ],
    ),
    (
        "trace",
        &[("!dest", "\"trace.to\" | <subject>"), ("sampling", "<count> | \"5%\" | \"101%\"")],
    ),
    (
        "export",
        &[
            ("!stream", "<exported>"),
            ("?service", "<exported>"),
            ("accounts", "[<account>]"),
            ("account_token_position", "<count> | 2"),
        ],
    ),
    (
        "export",
        &[
            ("!service", "<exported>"),
            ("accounts", "[<account>]"),
            ("account_token_position", "<count> | 2"),
            ("response_type", "\"singleton\" | \"stream\" | \"chunked\" | \"Single\" | \"other\""),
            ("response_threshold", "<duration>"),
            ("latency", "<subject> | {latency}"),
            ("allow_trace", "<bool>"),
        ],
    ),
    (
        "latency",
        &[
            ("!subject/dest", "<subject>"),
            ("sampling", "<count> | \"5%\" | \"headers\" | \"150%\" | \"x\""),
        ],
    ),
    (
        "import",
        &[
            ("!stream", "{source}"),
            ("prefix", "<word> | \"a.b\" | \"p.*\""),
            ("to", "<subject>"),
            ("allow_trace", "<bool>"),
            ("share", "<bool>"),
        ],
    ),
    (
        "import",
        &[("!service", "{source}"), ("to", "<subject>"), ("share", "<bool>"), ("prefix", "<word>")],
    ),
    ("source", &[("!account", "\"A\" | \"A\" | <account>"), ("!subject", "<exported>")]),
    (
        "mappings",
        &[
            ("foo", "<destination> | {destination} | [{destination}]"),
            ("\"foo.*\"", "<destination> | [{destination}]"),
            ("\"w.*.*\"", "<destination> | [{destination}]"),
            ("\"all.>\"", "<destination> | [{destination}]"),
            ("?\"bad..one\"", "<destination>"),
        ],
    ),
    (
        "destination",
        &[
            ("!destination/dest", "<destination>"),
            ("!weight", "50 | \"20%\" | 100 | \"7\" | 0 | 101"),
            ("cluster", "<word>"),
        ],
    ),
    (
        "metadata",
        &[("region", "<word>"), ("zone", "<word>"), ("a.b", "\"two words\""), ("n", "\"1\"")],
    ),
    (
        "tls",
        &[
            ("cert_file", "\"\" | \"missing.pem\""),
            ("key_file", "\"\" | \"missing.pem\""),
            ("ca_file", "\"\" | \"missing.pem\""),
            // As with `trace`, of several the last one wins.
            ("verify/verify_and_map/verify_cert_and_check_known_urls", "<bool>"),
            ("insecure", "<bool>"),
            ("timeout", "<seconds>"),
            ("min_version", "\"1.2\" | \"1.3\" | \"1.1\" | 1.2"),
            (
                "cipher_suites",
                "[\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\" | \"TLS_AES_128_GCM_SHA256\" | <word>]",
            ),
            ("curve_preferences", "[\"X25519\" | \"CurveP256\" | \"CurveP384\" | <word>]"),
            (
                "pinned_certs",
                "[\"7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069\" | <word>]",
            ),
            (
                "handshake_first/first/immediate",
                "<bool> | \"auto\" | \"auto_fallback\" | \"100ms\" | \"on\" | \"x\"",
            ),
            ("connection_rate_limit", "<count>"),
            ("certs/certificates", "[{pair}]"),
        ],
    ),
    ("pair", &[("cert_file", "\"missing.pem\""), ("key_file", "\"missing.pem\"")]),
    (
        "websocket",
        &[
            ("!listen", "\"127.0.0.1:-1\""),
            ("!no_tls", "true"),
            ("host/net", "\"127.0.0.1\""),
            ("advertise", "\"me:80\" | \"me\" | \"a:b:c\""),
            ("same_origin", "<bool>"),
            (
                "allowed_origins/allowed_origin/allow_origins/allow_origin/origins/origin",
                "\"http://a.b\" | [\"http://a.b\" | \"https://c.d:8\" | \"//x\"]",
            ),
            ("handshake_timeout", "<duration>"),
            ("compress/compression", "<bool>"),
            ("authorization/authentication", "{simple}"),
            ("jwt_cookie", "<word>"),
            ("user_cookie", "<word>"),
            ("pass_cookie", "<word>"),
            ("token_cookie", "<word>"),
            ("no_auth_user", "<user>"),
            ("headers", "{metadata}"),
            ("ping_interval", "<duration>"),
        ],
    ),
    (
        "simple",
        &[
            ("user/username", "<user>"),
            ("password/pass", "<word>"),
            ("token", "<word>"),
            ("timeout", "1 | 2.5 | 0"),
        ],
    ),
    ("proxies", &[("trusted", "[{proxy}]")]),
    ("proxy", &[("!key", "<nkey>")]),
    (
        "resolver",
        &[
            ("!type", "\"full\" | \"cache\" | \"mem\" | \"FULL\" | \"x\""),
            ("dir", "\"jwts\""),
            ("allow_delete", "<bool>"),
            ("hard_delete", "<bool>"),
            ("interval", "<duration>"),
            ("limit", "<count>"),
            ("ttl", "<duration>"),
            ("timeout", "<duration>"),
        ],
    ),
];

/// What stands for `<pool>` in the table.
pub(super) const POOLS: &[(&str, &str)] = &[
    ("bool", "true | false | yes | off | on | TRUE"),
    ("word", "\"a\" | \"blue\" | \"n-1\" | \"x_y\" | \"Zed\" | \"7up\" | \"a.b\""),
    ("count", "0 | 1 | 5 | 100 | 1k | 2 | -1 | 65536"),
    // Less than nothing means the same as ever, but is shown as what is meant.
    ("limit", "1 | 5 | 100 | 1k | 2 | 65536"),
    ("size", "4096 | 1k | 64kb | 1MB | 2mib | 0 | 1024 | 512 | 1m"),
    (
        "duration",
        "\"10s\" | \"1m30s\" | \"250ms\" | \"2h\" | \"0s\" | \"1.5s\" | 5 | 15s | \"45s\" | \"100us\"",
    ),
    ("long", "\"10s\" | \"1m30s\" | \"2h\" | 5 | 15s | \"45s\""),
    ("seconds", "1 | 2.5 | 0.5 | 0 | \"3s\" | \"500ms\" | 61"),
    ("user", "\"u1\" | \"u2\" | \"u3\" | \"u4\" | \"u5\" | \"u6\" | \"u7\" | \"auth\""),
    ("account", "\"A\" | \"B\" | \"C\" | \"SYS\" | \"$G\" | \"D\""),
    (
        "subject",
        "\"foo\" | \"foo.*\" | \"foo.>\" | \">\" | \"*.bar\" | \"ev.one\" | \"a.b.c\" | \"x..y\" | \"$SYS.>\"",
    ),
    ("queued", "<subject> | \"jobs.> workers\" | \"q *\" | \"q v1.>\" | \"a b c\" | \"q >\""),
    (
        "exported",
        "\"ev.>\" | \"help\" | \"pos.*.x\" | \"ev.one\" | \"calc.*\" | \"foo..x\" | \"calc.7\"",
    ),
    (
        "destination",
        "\"bar\" | \"bar.$1\" | \"bar.{{wildcard(1)}}\" | \"p.{{partition(5,1)}}\" | \"s.{{split(1,-)}}\" | \
         \"w.{{wildcard(2)}}.{{wildcard(1)}}\" | \"{{random(3)}}\" | \"x.*\" | \"x.>\" | \"b.{{nothing(1)}}\" | \
         \"b.{{left(1,2)}}\" | \"b.{{wildcard()}}\" | \"b.{{splitFromLeft(1,3)}}\" | \"b.{{wildcard(9)}}\"",
    ),
    (
        "url",
        "\"nats://127.0.0.1:1\" | \"nats-route://u:p@127.0.0.1:1\" | \"nats://localhost:1\" | \
         \"tls://127.0.0.1:2\" | \"nats://u%40:p%2F@127.0.0.1:3\" | \"127.0.0.1:1\" | \"nats://127.0.0.1:port\"",
    ),
    ("hash", "\"$2a$04$P/.bd.7unw9Ew7yWJqXsl.f4oNRLQGvadEL2YnqQXbbb.IVQajRdK\""),
    (
        "nkey",
        "\"UADRIIJOHNEFKYTPPSEZNI5QXXFNPZHR7YFRQJJSH5GFSZTTQCGZUQLX\" | <account_nkey> | \"UAAA\"",
    ),
    (
        "account_nkey",
        "\"AADRIIJOHNEFKYTPPSEZNI5QXXFNPZHR7YFRQJJSH5GFSZTTQCGZVUYI\" | \"AAHBWKBVIJHVY2LWQOIJ3KVXYTI5527YAUJB6LBZIZJWA3L2Q6KKCZUB\"",
    ),
    ("xkey", "\"XADRIIJOHNEFKYTPPSEZNI5QXXFNPZHR7YFRQJJSH5GFSZTTQCGZV3IF\" | <nkey>"),
    (
        "wrong",
        "1 | -1 | 0 | 1.5 | true | \"a\" | \"\" | \"a b\" | \">\" | \"10s\" | \"-3h\" | [ ] | { } | [ 1, 2 ] | \
         99999999999 | \"nats://u:p@h:1\" | 2016-05-04T18:53:41Z | \"foo..bar\" | [ \"a\" \"b\" ] | { a: 1 } | \
         [ { } ] | 70000 | 2m | \"2\" | -5 | [ [ ] ] | $undefined | $HOME | \"x y z\" | 3000000000 | { user: a }",
    ),
];
