// Package ntf is the tester that the suite of nats.go asks for servers, with server processes
// behind it instead of an embedded nats-server: whatever NATSD_UNDER_TEST names.
//
// It answers the requests of github.com/synadia-io/orbit.go/ntf-client, and stands where that
// module's own service stands: the suite's TestMain calls New, Port and Close.
package ntf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/ntf-client/api"
)

// Options of the service.
type Options struct {
	// AdvertiseHost is the host that servers tell clients of.
	AdvertiseHost string
}

// Service starts and stops servers for tests.
type Service struct {
	binary    string
	advertise string
	dir       string
	own       *process
	nc        *nats.Conn

	mu        sync.Mutex
	made      int
	instances map[string]*instance
}

// New starts the service. It talks over a server of its own, of the kind under test.
func New(_ context.Context, options Options) (*Service, error) {
	binary := os.Getenv("NATSD_UNDER_TEST")
	if binary == "" {
		return nil, errors.New("NATSD_UNDER_TEST names no server")
	}
	dir, err := os.MkdirTemp("", "ntf")
	if err != nil {
		return nil, err
	}
	s := &Service{
		binary:    binary,
		advertise: options.AdvertiseHost,
		dir:       dir,
		instances: map[string]*instance{},
	}
	if err := s.begin(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Service) begin() error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	s.own, err = newProcess(s.binary, s.dir, "tester", ports[0], fmt.Sprintf("listen: \"127.0.0.1:%d\"\n", ports[0]))
	if err != nil {
		return err
	}
	if err := s.own.start(); err != nil {
		return err
	}
	s.nc, err = nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", ports[0]), nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	for subject, answer := range s.verbs() {
		if _, err := s.nc.Subscribe(subject, func(m *nats.Msg) { go reply(m, answer) }); err != nil {
			return err
		}
	}
	return s.nc.Flush()
}

// Port is where the service is asked.
func (s *Service) Port() int { return s.own.port }

// Close ends every server.
func (s *Service) Close() {
	if s.nc != nil {
		s.nc.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, inst := range s.instances {
		inst.stop()
	}
	if s.own != nil {
		s.own.stop()
	}
	os.RemoveAll(s.dir)
}

type verb func(data []byte) (any, error)

func (s *Service) verbs() map[string]verb {
	return map[string]verb{
		"tester.create.server": asking(func(r api.CreateServerRequest) (any, error) {
			return s.create("server", 1, r.JetStream, config{r.Snippets, r.Template, r.TLS}, r.Description)
		}),
		"tester.create.cluster": asking(func(r api.CreateClusterRequest) (any, error) {
			return s.create("cluster", r.Servers, r.JetStream, config{r.Snippets, r.Template, r.TLS}, r.Description)
		}),
		"tester.destroy": asking(func(r api.DestroyRequest) (any, error) {
			return api.DestroyResponse{Destroyed: true}, s.destroy(r.InstanceID)
		}),
		"tester.stop.server": asking(func(r api.StopServerRequest) (any, error) {
			return api.StopServerResponse{Shutdown: true}, s.with(r.Name, func(_ *instance, p *process) error {
				p.stop()
				return nil
			})
		}),
		"tester.start.server": asking(func(r api.StartServerRequest) (any, error) {
			return api.StartServerResponse{Started: true}, s.with(r.Name, func(_ *instance, p *process) error {
				return p.start()
			})
		}),
		"tester.update.server": asking(func(r api.UpdateServerRequest) (any, error) {
			return api.UpdateServerResponse{Updated: true}, s.with(r.Name, func(i *instance, p *process) error {
				return i.update(p, r)
			})
		}),
		"tester.reload.server": asking(func(r api.ReloadServerRequest) (any, error) {
			return api.ReloadServerResponse{Reloaded: true}, s.with(r.Name, func(_ *instance, p *process) error {
				return p.reload()
			})
		}),
		"tester.status": asking(func(r api.StatusRequest) (any, error) { return s.status(r.InstanceID), nil }),
	}
}

func asking[R any](answer func(R) (any, error)) verb {
	return func(data []byte) (any, error) {
		var request R
		if len(data) > 0 {
			if err := json.Unmarshal(data, &request); err != nil {
				return nil, err
			}
		}
		return answer(request)
	}
}

func reply(m *nats.Msg, answer verb) {
	response := nats.NewMsg(m.Reply)
	body, err := answer(m.Data)
	if err == nil {
		response.Data, err = json.Marshal(body)
	}
	if err != nil {
		response.Header.Set("Nats-Service-Error", err.Error())
		response.Header.Set("Nats-Service-Error-Code", "500")
	}
	_ = m.RespondMsg(response)
}

func (s *Service) create(kind string, servers int, jetStream bool, wanted config, description string) (any, error) {
	if jetStream {
		return nil, errors.New("JetStream is no part of this run")
	}
	s.mu.Lock()
	s.made++
	id := fmt.Sprintf("i%d", s.made)
	s.mu.Unlock()
	inst, err := s.build(id, kind, servers, wanted, description)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.instances[id] = inst
	s.mu.Unlock()
	return api.CreateResponse{
		ID: id, Description: description, Kind: kind, Servers: inst.servers(), TLS: inst.tls.material(),
	}, nil
}

func (s *Service) destroy(id string) error {
	s.mu.Lock()
	inst := s.instances[id]
	delete(s.instances, id)
	s.mu.Unlock()
	if inst == nil {
		return fmt.Errorf("no instance %q", id)
	}
	inst.stop()
	return os.RemoveAll(inst.dir)
}

func (s *Service) with(name string, do func(*instance, *process) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, inst := range s.instances {
		for _, p := range inst.processes {
			if p.name == name {
				return do(inst, p)
			}
		}
	}
	return fmt.Errorf("no server %q", name)
}

func (s *Service) status(id string) api.StatusResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	var response api.StatusResponse
	for _, inst := range s.instances {
		if id != "" && inst.id != id {
			continue
		}
		status := api.InstanceStatus{ID: inst.id, Description: inst.description, Kind: inst.kind}
		for _, server := range inst.servers() {
			status.Servers = append(status.Servers, *server)
		}
		response.Instances = append(response.Instances, status)
	}
	return response
}
