package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

// TestURLs: the usual forms lead to what go-redis makes of them.
func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"h":                                      "server h:6379",
		"h:7000":                                 "server h:7000",
		"redis://u:p@h:7000/2":                   "server h:7000 u:p db 2",
		"rediss://h":                             "server h:6379 TLS",
		"unix:///run/redis.sock":                 "server /run/redis.sock",
		"redis+cluster://u:p@h:1?addr=i:2":       "cluster h:1 i:2 u:p",
		"redis://h:1?addr=i:2":                   "cluster h:1 i:2",
		"h:1 i:2 redis://j":                      "cluster h:1 i:2 j:6379",
		"rediss+cluster://h:1":                   "cluster h:1 TLS",
		"redis+sentinel://h:1/main?addr=i:2":     "sentinel h:1 i:2 main",
		"redis+sentinel://s:t@h:1/main/3":        "sentinel h:1 main s:t db 3",
		"redis://h:1?master_name=main":           "sentinel h:1 main",
		"redis+sentinel://h:1/main?password=pw1": "sentinel h:1 main master's pw1",
	} {
		d, err := parseDeployment(strings.Fields(url))
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if got := d.summary(); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

// summary is all that a URL can say.
func (d *deployment) summary() string {
	parts := append([]string{d.kind}, d.addrs...)
	credentials := func(user, password string) {
		if user+password != "" {
			parts = append(parts, user+":"+password)
		}
	}
	db := 0
	switch d.kind {
	case sentinelled:
		parts = append(parts, d.failover.MasterName)
		credentials(d.failover.SentinelUsername, d.failover.SentinelPassword)
		if d.failover.Password != "" {
			parts = append(parts, "master's "+d.failover.Password)
		}
		db = d.failover.DB
	case clustered:
		credentials(d.cluster.Username, d.cluster.Password)
	default:
		credentials(d.server.Username, d.server.Password)
		db = d.server.DB
	}
	if db != 0 {
		parts = append(parts, "db", string(rune('0'+db)))
	}
	if d.tls != nil {
		parts = append(parts, "TLS")
	}
	return strings.Join(parts, " ")
}

// TestNoPasswordIsPrinted, whatever is wrong with a URL or the server.
func TestNoPasswordIsPrinted(t *testing.T) {
	const secret = "s3cr3t"
	server := redistest.StartProcess(t)
	must(t, server.Client(t).ConfigSet(context.Background(), "requirepass", "other").Err())
	for _, url := range []string{
		"redis://u:" + secret + "@" + server.Addr(),
		"redis://u:" + secret + "@127.0.0.1:1",
		"redis://u:" + secret + "@h:port",
		"redis://u:" + secret + "%zz@h",
		"redis://u:" + secret + "@h/notadb",
		"mysql://u:" + secret + "@h",
		"redis+what://u:" + secret + "@h",
		"redis+sentinel://u:" + secret + "@127.0.0.1:1/",
		"redis+sentinel://127.0.0.1:1/main?password=" + secret + "&frob=1",
		"redis+cluster://u:" + secret + "@127.0.0.1:1?frob=1",
		"redis://127.0.0.1:1?password=" + secret,
	} {
		o := nc(t, url, "get", "k", "-n", "users")
		if o.code != exitFailed || strings.Contains(o.stdout+o.stderr, secret) || o.stderr == "" {
			t.Errorf("%s: exit code %d, said %s%s", url, o.code, o.stdout, o.stderr)
		}
	}
	nc(t, "redis://:wrong@"+server.Addr(), "get", "k", "-n", "users").want(t, exitFailed, "WRONGPASS", "%-encoding")
	nc(t, server.Addr(), "get", "k", "-n", "users").want(t, exitFailed, "NOAUTH", "redis://:PASSWORD@HOST")
}

// TestTLSAndACL: a user of a server that speaks TLS only.
func TestTLSAndACL(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	file := func(name string) string { return filepath.Join(dir, name) }
	addr := redistest.FreeAddrs(t, 1)[0]
	server := redistest.StartProcess(t, "--tls-port", redistest.Port(addr), "--tls-cert-file", file("cert.pem"), "--tls-key-file", file("key.pem"),
		"--tls-ca-cert-file", file("cert.pem"), "--tls-auth-clients", "no")
	admin := server.Client(t)
	must(t, cache[string](t, admin).Set(context.Background(), "k", "v"))
	must(t, admin.Do(context.Background(), "acl", "setuser", "ada", "on", ">p@ss", "~{users}:*", "&{users}:ch", "+@all").Err())
	url := "rediss://ada:p%40ss@" + addr
	t.Setenv("SSL_CERT_FILE", file("cert.pem"))
	nc(t, url, "get", "k", "-n", "users").want(t, exitOK, "v")
	nc(t, url, "doctor", "-n", "users").want(t, exitOK)
	nc(t, url, "chaos", "--for", "1s", "--staleness", "200ms").want(t, exitFailed, "NOPERM") // its keys are others
	must(t, admin.Do(context.Background(), "acl", "setuser", "ada", "allkeys", "allchannels").Err())
	nc(t, url, "chaos", "--for", "3s", "--staleness", "200ms").want(t, exitOK, "kept the promise")

	t.Setenv("SSL_CERT_FILE", "")
	nc(t, url, "get", "k", "-n", "users").want(t, exitFailed, "SSL_CERT_FILE")
	nc(t, url+"?skip_verify=true", "get", "k", "-n", "users").want(t, exitOK, "v")
	nc(t, "redis://"+addr, "get", "k", "-n", "users").want(t, exitFailed, "rediss://")
}

// certificate writes a self-signed one for loopback.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		must(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
}

// TestSentinel: the URL names sentinels, and leads to the master.
func TestSentinel(t *testing.T) {
	s := redistest.StartSentinel(t)
	must(t, cache[string](t, s.Client(t)).Set(context.Background(), "k", "v"))
	url := "redis+sentinel://" + s.Sentinels[0].Addr() + "/" + redistest.MasterName + "?addr=" + s.Sentinels[1].Addr()
	nc(t, url, "get", "k", "-n", "users").want(t, exitOK, "v")
	nc(t, url, "invalidate", "k", "-n", "users").want(t, exitOK)
	nc(t, url, "doctor", "-n", "users").want(t, exitFound, "PROBLEM: replicas", "min-replicas-to-write 1")
	nc(t, url, "chaos", "--for", "2s", "--staleness", "200ms").want(t, exitOK, "kept the promise")
}

// TestCluster: shards lie on many servers.
func TestCluster(t *testing.T) {
	ctx := context.Background()
	cluster := redistest.StartCluster(t)
	client := cluster.Client(t)
	users := cache[string](t, client)
	keys := keysOf(20)
	for _, key := range keys {
		must(t, users.Set(ctx, key, "v-"+key))
	}
	url := "redis+cluster://" + cluster.Masters[0].Addr()
	for _, key := range keys {
		nc(t, url, "get", key, "-n", "users").want(t, exitOK, "v-"+key)
	}
	nc(t, url, "get", "k", "-n", "none").want(t, exitFailed, `there are: "users"`)

	w := begin(t, url, "watch", "-n", "users")
	w.says(t, "TIME")
	nc(t, url, append([]string{"invalidate", "-n", "users"}, keys...)...).want(t, exitOK, "20 keys")
	for _, key := range keys {
		if v, err := users.Get(ctx, key, nearcache.SkipL1()); !errors.Is(err, nearcache.ErrMiss) {
			t.Errorf("%s is still there: %s, %v", key, v, err)
		}
		w.says(t, " "+key)
	}
	if code := w.interrupt(t); code != exitOK {
		t.Errorf("watch: exit code %d", code)
	}

	d := parse[diagnosis](t, nc(t, url, "doctor", "-n", "users", "--json"))
	if len(d.Servers) != 3 || d.Shards != 64 || d.Alive < 1 || d.count(problem) != 0 {
		t.Errorf("doctor: %+v", d)
	}
	wantOnly(t, &d, "coverage", warning) // redis-server's default
	for _, m := range cluster.Masters {
		must(t, m.Client(t).ConfigSet(ctx, "cluster-require-full-coverage", "no").Err())
	}
	d = parse[diagnosis](t, nc(t, url, "doctor", "-n", "users", "--json"))
	wantOnly(t, &d, "", "")

	cache(t, client, func(c *nearcache.Config[string]) { c.Name, c.Shards = "few", 1 })
	d = parse[diagnosis](t, nc(t, url, "doctor", "-n", "few", "--json"))
	wantOnly(t, &d, "shards", warning)

	nc(t, url, "stats", "-n", "users", "--times", "1").want(t, exitOK, "64 shards", "and 48 more", cluster.Masters[0].Addr())
	nc(t, url, "explain", "k1", "-n", "users").want(t, exitOK, "Redis does not have it")
	nc(t, url, "clear", "--yes", "-n", "users").want(t, exitOK, "64 shards")
	nc(t, url, "bench", "--for", "100ms").want(t, exitOK, "64 shards", "propagation")
	nc(t, url, "chaos", "--for", "5s", "--staleness", "500ms").want(t, exitOK, "kept the promise")
	for _, m := range cluster.Masters {
		if left, _, err := scan(ctx, m.Client(t), "{nearcache-*:[vsl]*"); err != nil || len(left) > 0 {
			t.Errorf("left on %s: %v, %v", m.Addr(), left, err)
		}
	}
}
