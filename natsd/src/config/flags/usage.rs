//! What `--help` and `--help_tls` print.

/// The usage text, for a program called `name`.
pub fn usage(name: &str) -> String {
    format!("\nUsage: {name} [options]\n{OPTIONS}\n")
}

const OPTIONS: &str = "
Server Options:
    -a, --addr, --net <host>         Address to listen on for clients (default: 0.0.0.0)
    -p, --port <port>                Port to listen on for clients (default: 4222, -1 picks a free one)
    -n, --name
        --server_name <name>         Name of this server (default: its generated id)
    -P, --pid <file>                 Write the process id to this file
    -m, --http_port <port>           Serve monitoring over HTTP on this port
    -ms,--https_port <port>          Serve monitoring over HTTPS on this port
    -c, --config <file>              Read this configuration file; flags override it
    -t                               Check the configuration file and exit
        --strict                     Take warnings about the configuration for errors
    -sl,--signal <signal>[=<pid>]    Signal a running server: ldm, stop, quit, term, reopen or reload
                                     <pid> is a process id, a prefix of some (12*) or a pid file
        --client_advertise <addr>    Address that clients are told instead of the one listened on
        --ports_file_dir <dir>       Write the bound ports to <dir>/<program>_<pid>.ports

Logging Options:
    -l, --log <file>                 Log to this file instead of stderr
    -T, --logtime                    Begin log lines with the time (default: true)
        --logtime_utc                Give that time in UTC (default: false)
    -s, --syslog                     Log to the local syslog
    -r, --remote_syslog <addr>       Log to a remote syslog (udp://localhost:514)
    -D, --debug                      Log what helps with debugging
    -V, --trace                      Log every protocol message
    -VV                              Log those of the system account too
    -DV                              -D and -V
    -DVV                             -D and -VV
        --log_size_limit <bytes>     Rotate the log file at this size
        --max_traced_msg_len <len>   Cut payloads in trace lines to this length (default: unlimited)

JetStream Options (not supported yet, accepted with a warning):
    -js, --jetstream                 Enable JetStream
    -sd, --store_dir <dir>           Storage directory

Authorization Options:
        --user <user>                User that clients must give
        --pass <password>            Password that clients must give
        --auth <token>               Token that clients must give

TLS Options:
        --tls                        Speak TLS with clients, without client certificates
        --tlscert <file>             Certificate of this server
        --tlskey <file>              Private key of that certificate
        --tlsverify                  Speak TLS and require client certificates
        --tlscacert <file>           Authority that client certificates are checked against

Cluster Options:
        --routes <url, url>          Servers to connect to
        --cluster <url>              Address to listen on for other servers
        --cluster_listen <url>       The same
        --cluster_name <name>        Name of the cluster (default: generated)
        --no_advertise <bool>        Tell clients nothing about other servers
        --cluster_advertise <addr>   Address that servers are told instead of the one listened on
        --connect_retries <number>   Further attempts to connect to a server heard of from others

Profiling Options:
        --profile <port>             Port for profiling

Common Options:
    -h, --help                       Print this text
    -v, --version                    Print the version
        --help_tls                   Print help on TLS
";

/// The text of `--help_tls`.
pub fn tls_help() -> &'static str {
    TLS_HELP
}

const TLS_HELP: &str = "
TLS is configured in the tls block of a configuration file, for example:

    tls {
        cert_file: \"./certs/server-cert.pem\"
        key_file:  \"./certs/server-key.pem\"
        ca_file:   \"./certs/ca.pem\"
        verify:    true

        cipher_suites: [
            \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"
            \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"
        ]
        curve_preferences: [ \"X25519\", \"CurveP256\" ]
    }

Cipher suites spoken:
    TLS_AES_128_GCM_SHA256
    TLS_AES_256_GCM_SHA384
    TLS_CHACHA20_POLY1305_SHA256
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256

Curves spoken:
    X25519
    CurveP256
    CurveP384
";
