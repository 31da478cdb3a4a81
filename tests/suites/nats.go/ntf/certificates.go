package ntf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/synadia-io/orbit.go/ntf-client/api"
)

// certificates of one instance: a CA, a server, and a client where both sides show one.
type certificates struct {
	CertFile, KeyFile, CAFile string

	told api.TLSMaterial
}

func (c *certificates) material() *api.TLSMaterial {
	if c == nil {
		return nil
	}
	return &c.told
}

// files is what snippets may name.
func (c *certificates) files() *certificates {
	if c == nil {
		return &certificates{}
	}
	return c
}

// block is the tls block of a server.
func (c *certificates) block(options *api.TLSOptions) string {
	if c == nil {
		return ""
	}
	timeout := options.Timeout
	if timeout == 0 {
		timeout = 2
	}
	text := fmt.Sprintf("tls {\n  cert_file: %q\n  key_file: %q\n  timeout: %v\n", c.CertFile, c.KeyFile, timeout)
	if options.Mode != api.TLSModeServer {
		text += fmt.Sprintf("  ca_file: %q\n  verify: true\n", c.CAFile)
	}
	if options.HandshakeFirst {
		text += "  handshake_first: true\n"
	}
	return text + "}\n"
}

type keyPair struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	certPEM []byte
	keyPEM  []byte
}

func makeCertificates(dir string, options *api.TLSOptions) (*certificates, error) {
	ca, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "ntf CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, nil)
	if err != nil {
		return nil, err
	}
	sans := options.SANs
	if len(sans) == 0 {
		sans = []string{"localhost", "127.0.0.1", "::1"}
	}
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: "ntf server"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, san := range sans {
		if ip := net.ParseIP(san); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, san)
		}
	}
	server, err := issue(leaf, ca)
	if err != nil {
		return nil, err
	}
	made := &certificates{
		CertFile: filepath.Join(dir, "server.pem"), KeyFile: filepath.Join(dir, "server.key"),
		CAFile: filepath.Join(dir, "ca.pem"),
		told:   api.TLSMaterial{CAPEM: string(ca.certPEM)},
	}
	for path, text := range map[string][]byte{
		made.CertFile: server.certPEM, made.KeyFile: server.keyPEM, made.CAFile: ca.certPEM,
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, err
		}
	}
	if options.Mode == api.TLSModeServer {
		return made, nil
	}
	client, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "ntf client"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca)
	if err != nil {
		return nil, err
	}
	made.told.ClientCertPEM, made.told.ClientKeyPEM = string(client.certPEM), string(client.keyPEM)
	return made, nil
}

// issue makes a key and a certificate for it, signed by itself without an issuer.
func issue(cert *x509.Certificate, issuer *keyPair) (*keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent, signer := cert, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &keyPair{
		cert: parsed, key: key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}
