package promnearcache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// program returns the path of one of Prometheus's programs. It skips the test, or with
// NEARCACHE_REQUIRE_PROMETHEUS=1 fails it, if there is none.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("NEARCACHE_REQUIRE_PROMETHEUS") == "1" {
		t.Fatalf("no %s in PATH", name)
	}
	t.Skipf("SKIPPED: no %s in PATH: the metrics, rules and dashboard are not tried with a real one", name)
	return ""
}

func promtool(t *testing.T, stdin io.Reader, args ...string) {
	t.Helper()
	cmd := exec.Command(program(t, "promtool"), args...)
	cmd.Dir, cmd.Stdin = "deploy", stdin
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestRules: promtool finds nothing wrong with them, and each alert fires when it should.
func TestRules(t *testing.T) {
	promtool(t, nil, "check", "rules", "--lint-fatal", "alerts.yml")
	promtool(t, nil, "test", "rules", "alerts_test.yml")
}

// instance is a cache whose metrics are served.
type instance struct {
	cache *nearcache.Cache[string]
	http  *httptest.Server
}

func newInstance(t *testing.T, redis *redistest.Server) instance {
	registry := prometheus.NewPedanticRegistry()
	cache, _ := observed(t, registry, "users", nearcache.Config[string]{
		Name: "users", Redis: redis.Client(t), TTL: nearcache.TTL{L1: 200 * time.Millisecond},
		Load: func(_ context.Context, key string) (string, error) {
			switch {
			case strings.HasSuffix(key, "7"):
				return "", nearcache.ErrNotFound
			case strings.HasSuffix(key, "8"):
				return "", errors.New("down")
			}
			return "v", nil
		},
	})
	i := instance{cache, httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))}
	t.Cleanup(i.http.Close)
	return i
}

// work uses the instance until ctx ends. Errors are part of it.
func (i instance) work(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		key := func(n int) string { return fmt.Sprint(n % 50) }
		i.cache.Get(ctx, key(n))
		i.cache.Get(ctx, key(n), nearcache.SkipL1())
		i.cache.GetMany(ctx, []string{key(n + 1), key(n + 2)})
		switch n % 10 {
		case 0:
			i.cache.Set(ctx, key(n), "w")
		case 5:
			i.cache.Invalidate(ctx, key(n))
		}
		time.Sleep(time.Millisecond)
	}
}

// server is a Prometheus.
type server struct{ url string }

// startPrometheus scrapes the instances every second and applies the rules.
func startPrometheus(t *testing.T, instances ...instance) server {
	t.Helper()
	rules, err := filepath.Abs("deploy/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, i := range instances {
		targets = append(targets, strings.TrimPrefix(i.http.URL, "http://"))
	}
	path := program(t, "prometheus")
	dir, addr := t.TempDir(), redistest.FreeAddrs(t, 1)[0]
	config, err := json.Marshal(map[string]any{ // which is YAML, too
		"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{rules},
		"scrape_configs": []any{map[string]any{"job_name": "nearcache", "static_configs": []any{map[string]any{"targets": targets}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", log.String())
		}
	})
	return server{"http://" + addr}
}

// get asks the API, and returns an error that says what Prometheus did not like.
func (s server) get(path string, query url.Values, data any) error {
	res, err := http.Get(s.url + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var reply struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil {
		return fmt.Errorf("%s: %s: %w", path, res.Status, err)
	}
	if reply.Status != "success" {
		return fmt.Errorf("%s: %s", path, reply.Error)
	}
	return json.Unmarshal(reply.Data, data)
}

// query returns the values that an expression has now, with their labels.
func (s server) query(expr string) (values map[string]string, err error) {
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := s.get("/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	values = make(map[string]string)
	for _, r := range data.Result {
		values[fmt.Sprint(r.Metric)] = fmt.Sprint(r.Value[1])
	}
	return values, nil
}

// eventually waits until try has nothing to say.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// hasData wants a number of an expression.
func (s server) hasData(expr string) error {
	values, err := s.query(expr)
	if err != nil {
		return fmt.Errorf("%s: %w", expr, err)
	}
	for _, v := range values {
		if v != "NaN" {
			return nil
		}
	}
	return fmt.Errorf("%s: no number among %v", expr, values)
}

// TestPrometheus: a real one scrapes two instances on a real Redis, knows every metric
// of the guide, has data for every panel of the dashboard, and the rules notice when
// Redis dies.
func TestPrometheus(t *testing.T) {
	program(t, "prometheus")
	redis := redistest.StartProcess(t)
	a, b := newInstance(t, redis), newInstance(t, redis)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go a.work(ctx)
	go b.work(ctx)
	p := startPrometheus(t, a, b)
	for _, row := range rows(t) {
		name := row[1]
		if row[2] == "histogram" {
			name += "_count"
		}
		eventually(t, func() error { return p.hasData(name + `{cache="users"}`) })
	}
	res, err := http.Get(a.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	promtool(t, res.Body, "check", "metrics")
	p.knows(t, rows(t))
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$cache", "users", "$__rate_interval", "10s").Replace(target.Expr)
			eventually(t, func() error { return p.hasData(expr) })
		}
	}
	p.judgesRules(t)
	if t.Failed() {
		return
	}
	redis.Kill(t)
	for _, alert := range []string{"NearcacheProofLost", "NearcacheRedisAway", "NearcacheChangesPending"} {
		eventually(t, func() error { return p.hasData(fmt.Sprintf("ALERTS{alertname=%q}", alert)) })
	}
}

// knows compares types and texts with the guide.
func (s server) knows(t *testing.T, rows [][]string) {
	t.Helper()
	var metadata map[string][]struct{ Type, Help string }
	if err := s.get("/api/v1/metadata", nil, &metadata); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if m := metadata[row[1]]; len(m) != 1 || m[0].Type != row[2] || m[0].Help != row[4] {
			t.Errorf("%s is known as %+v, want %s: %s", row[1], m, row[2], row[4])
		}
	}
}

// judgesRules wants all rules to be in force, and without errors.
func (s server) judgesRules(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		var data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		if err := s.get("/api/v1/rules", nil, &data); err != nil {
			return err
		}
		rules := 0
		for _, group := range data.Groups {
			for _, rule := range group.Rules {
				if rules++; rule.Health != "ok" {
					return fmt.Errorf("rule %s is %s: %s", rule.Name, rule.Health, rule.LastError)
				}
			}
		}
		if rules < 10 {
			return fmt.Errorf("%d rules", rules)
		}
		return nil
	})
}
