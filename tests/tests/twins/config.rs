//! The configurations that both servers run with, and what a story may say there.

/// A configuration and its words.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) config: &'static str,
    /// Whether peers dial the route port.
    pub(crate) routed: bool,
    /// Credentials as they stand in a CONNECT.
    pub(crate) credentials: &'static [&'static str],
    /// Subjects that mean something there.
    pub(crate) subjects: &'static [&'static str],
    /// Accounts that peers speak of.
    pub(crate) accounts: &'static [&'static str],
}

const PLAIN: Scene = Scene {
    name: "plain",
    config: "",
    routed: false,
    credentials: &[],
    subjects: &[],
    accounts: &["$G"],
};

pub(crate) const SCENES: [Scene; 12] = [
    PLAIN,
    Scene {
        name: "limits",
        config: "
            max_payload: 40
            max_control_line: 120
            max_subscriptions: 4
            max_subscription_tokens: 3
        ",
        ..PLAIN
    },
    Scene { name: "no headers", config: "no_header_support: true", ..PLAIN },
    Scene {
        name: "token",
        config: "authorization { token: t0ken, timeout: 60 }",
        credentials: &[r#""auth_token":"t0ken""#, r#""auth_token":"other""#, r#""auth_token":"""#],
        ..PLAIN
    },
    Scene {
        name: "permissions",
        config: r#"
            authorization {
                timeout: 60
                default_permissions: { publish: "a.>", subscribe: ["a.>", "_INBOX.>"] }
                users: [
                    { user: joe, password: p }
                    { user: all, password: p, permissions: { publish: ">", subscribe: ">" } }
                    { user: svc, password: p, permissions: {
                        subscribe: ["a", "a.>", "b q"], allow_responses: { max: 2, expires: "1m" } } }
                    { user: pub, password: p, permissions: {
                        publish: { allow: ["a.*", "b.>"], deny: ["a.b", "b.c.>"] }
                        subscribe: { allow: [">"], deny: ["b.*", "a q1", "foo.> q*", "> deny.>", "a.b.c"] } } }
                    { user: non, password: p, permissions: { publish: { deny: ">" }, subscribe: { deny: ">" } } }
                    { user: que, password: p, permissions: { subscribe: { allow: ["a q1", "a.b q.*", "foo q.>"] } } }
                ]
            }
            no_auth_user: joe
        "#,
        credentials: &[
            r#""user":"joe","pass":"p""#,
            r#""user":"all","pass":"p""#,
            r#""user":"svc","pass":"p""#,
            r#""user":"pub","pass":"p""#,
            r#""user":"non","pass":"p""#,
            r#""user":"que","pass":"p""#,
            r#""user":"joe","pass":"q""#,
        ],
        subjects: &["a", "a.b", "b", "b.c.d", "foo.x", "_INBOX.a"],
        ..PLAIN
    },
    Scene {
        name: "accounts",
        config: ACCOUNTS,
        credentials: &[
            r#""user":"a","pass":"p""#,
            r#""user":"b","pass":"p""#,
            r#""user":"c","pass":"p""#,
            r#""user":"x","pass":"p""#,
        ],
        subjects: SHARED_SUBJECTS,
        ..PLAIN
    },
    Scene {
        name: "mappings",
        config: r#"
            mappings {
                "a": "b"
                "a.*": "b.$1"
                "a.*.*": "c.$2.$1"
                "foo": [ { destination: "foo.x", weight: 100% } ]
                "foo.>": "a.>"
                "d.*": "d.{{partition(3,1)}}.$1"
                "e.*": "{{splitFromLeft(1,2)}}.x"
                "f.*.>": "g.>"
                "none": [ { destination: "never", weight: 0% } ]
            }
        "#,
        subjects: &["d.x", "e.abc", "f.a.b", "foo.a", "c.a.b", "none", "g.>", "b.*"],
        ..PLAIN
    },
    Scene {
        name: "account mappings and limits",
        config: r#"
            accounts {
                A {
                    users: [ { user: a, password: p } ]
                    mappings { "a": "b", "a.*": "foo.$1" }
                    limits { max_subs: 3, max_payload: 32 }
                }
                B { users: [ { user: b, password: p } ], limits { max_connections: 1 } }
            }
            no_auth_user: a
            authorization { timeout: 60 }
        "#,
        credentials: &[r#""user":"a","pass":"p""#, r#""user":"b","pass":"p""#],
        subjects: &["foo.a"],
        ..PLAIN
    },
    Scene { name: "a pooled route", config: CLUSTER, routed: true, ..PLAIN },
    Scene {
        name: "a route without pool",
        config: r#"
            cluster { name: C1, listen: "127.0.0.1:-1", pool_size: -1
                permissions { export: { deny: ["b.>"] }, import: { allow: ["a.>", "foo", "b.>"] } } }
        "#,
        routed: true,
        ..PLAIN
    },
    Scene {
        name: "a route with accounts",
        config: r#"
            cluster { name: C1, listen: "127.0.0.1:-1", pool_size: -1 }
            accounts {
                A { users: [ { user: a, password: p } ]
                    exports: [ { stream: "st.>" }, { service: "help" } ] }
                B { users: [ { user: b, password: p } ]
                    imports: [ { stream: { account: A, subject: "st.>" }, prefix: "in" }
                               { service: { account: A, subject: "help" }, to: "a.help" } ] }
            }
            no_auth_user: a
        "#,
        routed: true,
        credentials: &[r#""user":"a","pass":"p""#, r#""user":"b","pass":"p""#],
        subjects: SHARED_SUBJECTS,
        accounts: &["A", "B", "$G", "NONE"],
    },
    Scene {
        name: "a route for an account",
        config: r#"
            cluster { name: C1, listen: "127.0.0.1:-1", accounts: ["A"] }
            accounts {
                A { users: [ { user: a, password: p } ] }
                B { users: [ { user: b, password: p } ] }
            }
            no_auth_user: a
        "#,
        routed: true,
        credentials: &[r#""user":"a","pass":"p""#, r#""user":"b","pass":"p""#],
        accounts: &["A", "B"],
        ..PLAIN
    },
];

const CLUSTER: &str = r#"cluster { name: C1, listen: "127.0.0.1:-1" }"#;

const SHARED_SUBJECTS: &[&str] = &[
    "st.a", "st.>", "in.st.a", "in.>", "help", "a.help", "help.x", "a.x", "a.*", "_INBOX.a", "two",
    "loc.a.b",
];

const ACCOUNTS: &str = r#"
    accounts {
        A {
            users: [ { user: a, password: p } ]
            exports: [
                { stream: "st.>" }
                { service: "help" }
                { service: "help.*", response_type: Stream }
                { service: "two", accounts: [B] }
                { stream: "only", accounts: [C] }
            ]
        }
        B {
            users: [ { user: b, password: p } ]
            imports: [
                { stream: { account: A, subject: "st.>" }, prefix: "in" }
                { service: { account: A, subject: "help" }, to: "a.help" }
                { service: { account: A, subject: "help.*" }, to: "a.*" }
                { service: { account: A, subject: "two" } }
            ]
        }
        C {
            users: [ { user: c, password: p } ]
            exports: [ { service: "chain" } ]
            imports: [
                { stream: { account: A, subject: "st.*" }, to: "loc.$1.b" }
                { stream: { account: A, subject: "only" } }
                { service: { account: A, subject: "help" } }
            ]
        }
    }
    authorization { timeout: 60 }
    no_auth_user: b
"#;
