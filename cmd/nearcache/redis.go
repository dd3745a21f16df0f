package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// dialer reaches an address as options say, TLS included.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// deployment is a Redis as URLs name it. Its options hold passwords: print only place.
type deployment struct {
	kind     string // "server", "cluster" or "sentinel"
	addrs    []string
	tls      *tls.Config
	server   *redis.Options
	cluster  *redis.ClusterOptions
	failover *redis.FailoverOptions

	client redis.UniversalClient // once connected
}

const (
	oneServer   = "server"
	clustered   = "cluster"
	sentinelled = "sentinel"
)

// place is what messages call the deployment.
func (d *deployment) place() string {
	switch list := strings.Join(d.addrs, ", "); d.kind {
	case clustered:
		return "the cluster at " + list
	case sentinelled:
		return fmt.Sprintf("%q of the sentinels at %s", d.failover.MasterName, list)
	default:
		return list
	}
}

// parseDeployment reads the URL of a deployment; more of them name further nodes.
func parseDeployment(urls []string) (*deployment, error) {
	u, kind, err := parseURL(urls[0])
	if err != nil {
		return nil, err
	}
	q := u.Query()
	for _, more := range urls[1:] {
		node, _, err := parseURL(more)
		if err != nil {
			return nil, err
		}
		q.Add("addr", net.JoinHostPort(node.Hostname(), or(node.Port(), "6379")))
	}
	switch {
	case kind == sentinelled || q.Has("master_name"):
		kind = sentinelled
		moveMaster(u, q)
	case kind == clustered || q.Has("addr"):
		kind = clustered
	default:
		kind = oneServer
	}
	u.RawQuery = q.Encode()
	d := &deployment{kind: kind}
	if err := d.parse(u); err != nil {
		return nil, fmt.Errorf("the URL of Redis, %s: %w", bare(u), withoutSecrets(err, u))
	}
	return d, nil
}

// parseURL splits a URL from what its scheme says of the kind of deployment.
func parseURL(text string) (u *url.URL, kind string, err error) {
	if !strings.Contains(text, "://") {
		text = "redis://" + text
	}
	u, err = url.Parse(text)
	if err != nil {
		// The error repeats the URL, which may hold a password.
		return nil, "", errors.New("the URL of Redis cannot be parsed (a password with special characters needs %-encoding); " +
			"it looks like redis://USER:PASSWORD@HOST:PORT/DB")
	}
	u.Scheme, kind, _ = strings.Cut(u.Scheme, "+")
	if kind != "" && kind != clustered && kind != sentinelled {
		return nil, "", fmt.Errorf("the URL of Redis begins with %s+%s://, must be redis, rediss, unix, or one of the first two "+
			"with +cluster or +sentinel", u.Scheme, kind)
	}
	return u, kind, nil
}

// moveMaster takes the name of the master from the path, where go-redis expects it
// among the parameters: /MASTER or /MASTER/DB.
func moveMaster(u *url.URL, q url.Values) {
	if q.Has("master_name") {
		return
	}
	name, db, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	q.Set("master_name", name)
	u.Path = ""
	if db != "" {
		u.Path = "/" + db
	}
}

func (d *deployment) parse(u *url.URL) (err error) {
	switch d.kind {
	case sentinelled:
		if d.failover, err = redis.ParseFailoverURL(u.String()); err != nil {
			return err
		}
		d.addrs, d.tls = d.failover.SentinelAddrs, d.failover.TLSConfig
		if d.failover.MasterName == "" {
			return errors.New("it names no master: redis+sentinel://HOST:PORT/MASTER")
		}
		if o := d.failover; o.ReplicaOnly || o.RouteByLatency || o.RouteRandomly {
			return errReplicas
		}
	case clustered:
		if d.cluster, err = redis.ParseClusterURL(u.String()); err != nil {
			return err
		}
		d.addrs, d.tls = d.cluster.Addrs, d.cluster.TLSConfig
		if o := d.cluster; o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return errReplicas
		}
	default:
		if d.server, err = redis.ParseURL(u.String()); err != nil {
			return err
		}
		d.addrs, d.tls = []string{d.server.Addr}, d.server.TLSConfig
	}
	return nil
}

var errReplicas = errors.New("it asks for reads from replicas, which lag behind what is announced: leave out read_only, " +
	"replica_only, route_by_latency and route_randomly")

// bare is a URL without what may be secret.
func bare(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// withoutSecrets hides what an error repeats of a URL.
func withoutSecrets(err error, u *url.URL) error {
	text := err.Error()
	secrets := []string{u.String(), u.Query().Get("password")}
	if password, ok := u.User.Password(); ok {
		secrets = append(secrets, password)
	}
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "xxxxx")
		}
	}
	return errors.New(text)
}

// open returns another client of the deployment, which reaches servers by dial; nil
// stands for the ordinary way. It waits for answers for as long as the URL says, else
// for wait.
func (d *deployment) open(dial dialer, wait time.Duration) redis.UniversalClient {
	switch d.kind {
	case sentinelled:
		o := *d.failover
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = or(o.DialTimeout, wait), or(o.ReadTimeout, wait), or(o.WriteTimeout, wait)
		o.DialerRetries, o.ContextTimeoutEnabled, o.Dialer = or(o.DialerRetries, 1), true, dial
		return redis.NewFailoverClient(&o)
	case clustered:
		o := *d.cluster
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = or(o.DialTimeout, wait), or(o.ReadTimeout, wait), or(o.WriteTimeout, wait)
		o.DialerRetries, o.ContextTimeoutEnabled, o.Dialer = or(o.DialerRetries, 1), true, dial
		return redis.NewClusterClient(&o)
	default:
		o := *d.server
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = or(o.DialTimeout, wait), or(o.ReadTimeout, wait), or(o.WriteTimeout, wait)
		o.DialerRetries, o.ContextTimeoutEnabled, o.Dialer = or(o.DialerRetries, 1), true, dial
		o.MaxRetries = or(o.MaxRetries, 1)
		return redis.NewClient(&o)
	}
}

// direct dials as the clients themselves do.
func (d *deployment) direct(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: patience}
	if d.tls == nil {
		return plain.DialContext(ctx, network, addr)
	}
	return (&tls.Dialer{NetDialer: plain, Config: d.tls}).DialContext(ctx, network, addr)
}

// connect opens the client and says hello.
func (d *deployment) connect(ctx context.Context) error {
	d.client = d.open(nil, patience)
	ctx, cancel := context.WithTimeout(ctx, patience+time.Second)
	defer cancel()
	// Servers that cannot save or are still loading refuse even that, and answer the rest.
	if err := d.client.Ping(ctx).Err(); err != nil && !redis.HasErrorPrefix(err, "MISCONF") && !redis.HasErrorPrefix(err, "LOADING") {
		d.client.Close()
		return fmt.Errorf("cannot reach Redis, %s: %w%s", d.place(), err, advice(d, err))
	}
	return nil
}

// advice is what to try after an error, on lines of its own; or nothing.
func advice(d *deployment, err error) string {
	for _, a := range []func(*deployment, error) string{adviceOnWords, adviceOnTLS, adviceOnSilence} {
		if text := a(d, err); text != "" {
			return "\n" + strings.TrimRight(wrapped("try: "+text, "  ", 79), "\n")
		}
	}
	return ""
}

// adviceOnWords is about what a server said.
func adviceOnWords(d *deployment, err error) string {
	for _, a := range []struct {
		said, try string
		where     string // kind of deployment, if it matters
	}{
		{"NOAUTH", "a URL with a password, redis://:PASSWORD@HOST, or with an ACL user, redis://USER:PASSWORD@HOST", ""},
		{"WRONGPASS", "another user or password; characters such as @ : / # in one need %-encoding", ""},
		{"NOPERM", "another ACL user, or more rights for this one: doctor tells which", ""},
		{"all sentinels", "other addresses: no sentinel answered there, or none of them knows this master", ""},
		{"cluster support disabled", "redis:// in place of redis+cluster://: the server is not part of a cluster", clustered},
		{"MOVED", "redis+cluster:// in place of redis://: the server is a node of a cluster", oneServer},
		{"connection refused", "another host or port, or to start the server: nobody listens there", ""},
		{"no such host", "another host: this name does not resolve", ""},
	} {
		if strings.Contains(err.Error(), a.said) && (a.where == "" || a.where == d.kind) {
			return a.try
		}
	}
	return ""
}

func adviceOnTLS(d *deployment, err error) string {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	text := err.Error()
	switch {
	case unknown:
		return "SSL_CERT_FILE=ca.pem, if the server's certificate is signed by your own authority"
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return "redis:// in place of rediss://: the server does not speak TLS there"
	case d.tls == nil && (strings.Contains(text, "EOF") || strings.Contains(text, "reset by peer")):
		return "rediss:// in place of redis://, if the server wants TLS: it hung up without a word"
	}
	return ""
}

func adviceOnSilence(d *deployment, err error) string {
	timeout, ok := errors.AsType[net.Error](err)
	if (!ok || !timeout.Timeout()) && !errors.Is(err, context.DeadlineExceeded) {
		return ""
	}
	if d.tls != nil {
		return "another host, or to open the firewall: nothing answered; or redis:// in place of rediss://, if the server does not speak TLS"
	}
	return "another host, or to open the firewall: nothing answered"
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
