package ntf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/synadia-io/orbit.go/ntf-client/api"
)

// config is what a test wants of its servers beyond the defaults.
type config struct {
	snippets map[string]string
	template string
	tls      *api.TLSOptions
}

// instance is one server or one cluster.
type instance struct {
	id, kind, description, cluster, dir, advertise string

	wanted    config
	tls       *certificates
	processes []*process
	// routes are the route ports, in the order of processes; none for a single server.
	routes []int
}

// These need a port of their own on every server that has one.
var listeners = []string{"websocket", "mqtt", "leafnode"}

// Five accounts with a user each, the first of which clients are who say nothing.
const accounts = `accounts {
  USERS1: { users: [ { user: user1, password: user1 } ] }
  USERS2: { users: [ { user: user2, password: user2 } ] }
  USERS3: { users: [ { user: user3, password: user3 } ] }
  USERS4: { users: [ { user: user4, password: user4 } ] }
  USERS5: { users: [ { user: user5, password: user5 } ] }
  $SYS: { users: [ { user: system, password: system } ] }
}`

var defaults = map[string]string{
	"accounts":       accounts,
	"system_account": `system_account: "$SYS"`,
	"authorization":  "no_auth_user: user1",
}

func (s *Service) build(id, kind string, servers int, wanted config, description string) (*instance, error) {
	if wanted.template != "" {
		return nil, fmt.Errorf("templates of whole files are not supported")
	}
	inst := &instance{
		id: id, kind: kind, description: description, advertise: s.advertise,
		dir: filepath.Join(s.dir, id), wanted: wanted,
	}
	if err := os.Mkdir(inst.dir, 0o755); err != nil {
		return nil, err
	}
	if kind == "cluster" {
		inst.cluster = "C-" + id
		ports, err := freePorts(servers)
		if err != nil {
			return nil, err
		}
		inst.routes = ports
	}
	if wanted.tls != nil {
		made, err := makeCertificates(inst.dir, wanted.tls)
		if err != nil {
			return nil, err
		}
		inst.tls = made
	}
	for n := range servers {
		if err := inst.add(s.binary, n); err != nil {
			inst.stop()
			return nil, err
		}
	}
	for _, p := range inst.processes {
		if err := p.start(); err != nil {
			inst.stop()
			return nil, err
		}
	}
	return inst, inst.settle()
}

// add gives the instance its next server, not started yet.
func (i *instance) add(binary string, n int) error {
	ports, err := freePorts(1 + len(listeners))
	if err != nil {
		return err
	}
	extra := map[string]int{}
	for k, listener := range listeners {
		if _, ok := i.wanted.snippets[listener]; ok {
			extra[listener] = ports[1+k]
		}
	}
	name := fmt.Sprintf("%s-n%d", i.id, n+1)
	text, err := i.render(name, n, ports[0], extra)
	if err != nil {
		return err
	}
	p, err := newProcess(binary, i.dir, name, ports[0], text)
	if err != nil {
		return err
	}
	p.extra = extra
	i.processes = append(i.processes, p)
	return nil
}

// render makes the configuration file of one server.
func (i *instance) render(name string, n, port int, extra map[string]int) (string, error) {
	var b strings.Builder
	env := map[string]any{"Ports": extra, "Name": name, "ClusterName": i.cluster, "TLS": i.tls.files()}
	snippet := func(key string) error {
		body, ok := i.wanted.snippets[key]
		if !ok {
			body = defaults[key]
		}
		t, err := template.New(key).Parse(body)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := t.Execute(&text, env); err != nil {
			return err
		}
		fmt.Fprintln(&b, text.String())
		return nil
	}
	for _, key := range []string{"top", "accounts", "system_account", "authorization", "tls", "websocket"} {
		if err := snippet(key); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(&b, "server_name: %q\nport: %d\n", name, port)
	if i.advertise != "" {
		fmt.Fprintf(&b, "client_advertise: \"%s:%d\"\n", i.advertise, port)
	}
	b.WriteString(i.tls.block(i.wanted.tls))
	if len(i.routes) > 0 {
		fmt.Fprintf(&b, "cluster {\n  name: %q\n  listen: \"127.0.0.1:%d\"\n  routes: [\n", i.cluster, i.routes[n])
		for _, route := range i.routes {
			fmt.Fprintf(&b, "    \"nats://127.0.0.1:%d\"\n", route)
		}
		b.WriteString("  ]\n}\n")
	}
	return b.String(), nil
}

func (i *instance) update(p *process, r api.UpdateServerRequest) error {
	i.wanted.snippets = r.Snippets
	if r.TLSTimeout != nil && i.wanted.tls != nil {
		i.wanted.tls.Timeout = *r.TLSTimeout
	}
	for n, candidate := range i.processes {
		if candidate == p {
			text, err := i.render(p.name, n, p.port, p.extra)
			if err != nil {
				return err
			}
			return os.WriteFile(p.config, []byte(text), 0o644)
		}
	}
	return fmt.Errorf("no server %q", p.name)
}

// settle waits until every server of a cluster tells clients of every other.
func (i *instance) settle() error {
	if len(i.routes) == 0 || (i.wanted.tls != nil && i.wanted.tls.HandshakeFirst) {
		return nil
	}
	for _, p := range i.processes {
		if err := p.waitForURLs(len(i.processes)); err != nil {
			return err
		}
	}
	return nil
}

func (i *instance) servers() []*api.ManagedServer {
	var all []*api.ManagedServer
	for _, p := range i.processes {
		all = append(all, &api.ManagedServer{
			Name: p.name, Cluster: i.cluster, Port: p.port, Ports: p.extra, Running: p.running(),
		})
	}
	return all
}

func (i *instance) stop() {
	for _, p := range i.processes {
		p.stop()
	}
}
