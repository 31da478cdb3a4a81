package ntf

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is how long a server may take to do what it was asked to.
const patience = 20 * time.Second

// process is one server, running or not.
type process struct {
	name, binary, config, log string

	port  int
	extra map[string]int
	cmd   *exec.Cmd
	done  chan struct{}
}

func newProcess(binary, dir, name string, port int, config string) (*process, error) {
	p := &process{
		name: name, binary: binary, port: port,
		config: filepath.Join(dir, name+".conf"),
		log:    filepath.Join(dir, name+".log"),
	}
	return p, os.WriteFile(p.config, []byte(config), 0o644)
}

func (p *process) running() bool { return p.cmd != nil }

// start begins the process and waits until it accepts connections.
func (p *process) start() error {
	if p.running() {
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.binary, "-c", p.config)
	cmd.Stdout, cmd.Stderr = log, log
	// The servers do not outlive a test binary that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	p.cmd, p.done = cmd, done
	return p.eventually("it accepts connections", func() bool {
		conn, err := net.DialTimeout("tcp", p.address(), time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (p *process) address() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// eventually waits for a condition as long as the process lives.
func (p *process) eventually(what string, holds func() bool) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return nil
		}
		select {
		case <-p.done:
			p.cmd = nil
			return fmt.Errorf("server %s ended:\n%s", p.name, p.tail())
		default:
		}
	}
	return fmt.Errorf("server %s: not within %s: %s\n%s", p.name, patience, what, p.tail())
}

func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// stop ends the process as an operator would, and then as a crash.
func (p *process) stop() {
	if !p.running() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	p.cmd = nil
}

// reload makes the process read its configuration again and waits until it has.
func (p *process) reload() error {
	if !p.running() {
		return fmt.Errorf("server %s does not run", p.name)
	}
	before := p.reloads()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return p.eventually("it has reloaded", func() bool { return p.reloads() > before })
}

func (p *process) reloads() int {
	text, _ := os.ReadFile(p.log)
	return bytes.Count(text, []byte("Reloaded server configuration")) +
		bytes.Count(text, []byte("Failed to reload server configuration"))
}

// waitForURLs waits until INFO lists this many servers. Where it may, it stays on one connection
// and is told of changes: tests compare the ids of connections of several servers, and so each
// server should have had as many.
func (p *process) waitForURLs(count int) error {
	return p.eventually(fmt.Sprintf("it knows %d servers", count), func() bool {
		conn, err := net.DialTimeout("tcp", p.address(), time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		lines := bufio.NewScanner(conn)
		for first := true; lines.Scan(); first = false {
			text, ok := strings.CutPrefix(lines.Text(), "INFO ")
			if !ok {
				continue
			}
			var info struct {
				URLs []string `json:"connect_urls"`
				TLS  bool     `json:"tls_required"`
			}
			_ = json.Unmarshal([]byte(text), &info)
			if len(info.URLs) >= count {
				return true
			}
			if info.TLS {
				return false
			}
			if first {
				_, _ = conn.Write([]byte("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n"))
			}
		}
		return false
	})
}

// freePorts gives ports that nobody listens on. All are held at once, so that they differ.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
