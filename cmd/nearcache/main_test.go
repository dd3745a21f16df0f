package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// binary is the program under test, with the race detector: it exits with 66 if that
// finds something.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nearcache-cli")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "nearcache")
	if err := build(binary); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(to string, flags ...string) error {
	out, err := exec.Command("go", append(append([]string{"build", "-race", "-o", to}, flags...), ".")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// outcome is how a command ended.
type outcome struct {
	stdout, stderr string
	code           int
}

// command is the program with the server's address in its environment.
func command(url string, args ...string) *exec.Cmd {
	c := exec.Command(binary, args...)
	// The race detector's sleep at the end is as long as most commands are, times ten.
	c.Env = append(os.Environ(), "NEARCACHE_REDIS="+url, "GORACE=atexit_sleep_ms=0")
	return c
}

func nc(t *testing.T, url string, args ...string) outcome {
	t.Helper()
	return finish(t, command(url, args...))
}

// finish runs a command to its end.
func finish(t *testing.T, c *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := outcome{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
	if args := strings.Join(c.Args, " "); strings.Contains(args, "completion") || strings.Contains(args, "get") {
		return o // of others' making
	}
	for line := range strings.Lines(o.stdout + o.stderr) {
		n := len([]rune(strings.TrimRight(line, "\n")))
		if json := strings.HasPrefix(line, "{"); n > 80 && !json && !strings.HasPrefix(line, "nearcache: ") && strings.Contains(line, " ") {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	return o
}

// want fails unless the command ended with code, and said each of parts.
func (o outcome) want(t *testing.T, code int, parts ...string) {
	t.Helper()
	ok := o.code == code
	if !ok {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	for _, part := range parts {
		filled := strings.Join(strings.Fields(o.stdout+o.stderr), " ")
		if !strings.Contains(o.stdout+o.stderr, part) && !strings.Contains(filled, part) {
			ok = false
			t.Errorf("did not say %q", part)
		}
	}
	if !ok {
		t.Fatalf("stdout:\n%s\nstderr:\n%s", o.stdout, o.stderr)
	}
}

// parse reads JSON output.
func parse[T any](t *testing.T, o outcome) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(o.stdout), &v); err != nil {
		t.Fatalf("%v in %s\nstderr: %s", err, o.stdout, o.stderr)
	}
	return v
}

type person struct {
	Name string
	Age  int
}

// cache opens an instance of the cache "users".
func cache[V any](t *testing.T, client redis.UniversalClient, change ...func(*nearcache.Config[V])) *nearcache.Cache[V] {
	t.Helper()
	cfg := nearcache.Config[V]{Name: "users", Redis: client, RedisTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&cfg)
	}
	c, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// live is a command that runs until it is interrupted.
type live struct {
	cmd    *exec.Cmd
	mu     sync.Mutex
	out    bytes.Buffer
	ended  chan struct{}
	stderr bytes.Buffer
}

func (l *live) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *live) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func begin(t *testing.T, url string, args ...string) *live {
	t.Helper()
	l := &live{cmd: command(url, args...), ended: make(chan struct{})}
	l.cmd.Stdout, l.cmd.Stderr = l, io.MultiWriter(l, &l.stderr)
	must(t, l.cmd.Start())
	go func() { _ = l.cmd.Wait(); close(l.ended) }()
	t.Cleanup(func() { _ = l.cmd.Process.Kill(); <-l.ended })
	return l
}

// says waits until the command has said text.
func (l *live) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s says %q", l.cmd.Args[1], text), func() bool { return strings.Contains(l.text(), text) })
}

// interrupt sends Ctrl-C and returns the exit code.
func (l *live) interrupt(t *testing.T) int {
	t.Helper()
	must(t, l.cmd.Process.Signal(syscall.SIGINT))
	select {
	case <-l.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("still running after Ctrl-C")
	}
	return l.cmd.ProcessState.ExitCode()
}

// TestHelpAndCompletion: every command explains itself within 80 columns, and the
// scripts for shells are no nonsense.
func TestHelpAndCompletion(t *testing.T) {
	for _, c := range newRoot(&terminal{}).Commands() {
		o := nc(t, "", c.Name(), "--help")
		o.want(t, 0, "Usage:", c.Name())
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		o := nc(t, "", "completion", shell)
		o.want(t, 0, "nearcache", "complet")
		path, err := exec.LookPath(shell)
		if err != nil {
			continue // its syntax is cobra's business
		}
		check := exec.Command(path, "-n")
		check.Stdin = strings.NewReader(o.stdout)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s -n: %v\n%s", shell, err, out)
		}
	}
	nc(t, "", "__complete", "in").want(t, 0, "invalidate")
}

// TestErrorsHelp: what was tried, and what to try instead.
func TestErrorsHelp(t *testing.T) {
	server := redistest.StartProcess(t)
	client := server.Client(t)
	cache[string](t, client)
	must(t, client.Set(context.Background(), "{odd}:shards", "many", 0).Err())
	for name, c := range map[string]struct {
		url  string
		args []string
		want []string
	}{
		"refused":      {"redis://127.0.0.1:1", []string{"get", "k", "-n", "users"}, []string{"cannot reach Redis, 127.0.0.1:1", "refused", "try: "}},
		"unknown name": {server.Addr(), []string{"get", "k", "-n", "user"}, []string{`no cache "user"`, `there are: "odd", "users"`}},
		"no name":      {server.Addr(), []string{"get", "k"}, []string{"--name", `"users"`}},
		"odd shards":   {server.Addr(), []string{"get", "k", "-n", "odd"}, []string{`"many" at {odd}:shards`, "--shards"}},
		"other shards": {server.Addr(), []string{"get", "k", "-n", "users", "--shards", "4"}, []string{"--shards is 4", "has 1 shards"}},
		"no command":   {server.Addr(), []string{"frob"}, []string{`unknown command "frob"`}},
		"no TLS there": {"rediss://" + server.Addr(), []string{"get", "k"}, []string{"redis:// in place of rediss://"}},
		"no cluster":   {"redis+cluster://" + server.Addr(), []string{"get", "k"}, []string{"redis:// in place of redis+cluster://"}},
		"no sentinel":  {"redis+sentinel://" + server.Addr() + "/main", []string{"get", "k"}, []string{`"main" of the sentinels`, "try: "}},
		"no such flag": {server.Addr(), []string{"stats", "--often"}, []string{"unknown flag: --often"}},
		"bounds":       {server.Addr(), []string{"chaos", "--instances", "1"}, []string{"--instances is 1, must be 2 to 64"}},
		"not yours":    {server.Addr(), []string{"bench", "-n", "users"}, []string{"leave --name out"}},
		"empty key":    {server.Addr(), []string{"invalidate", "", "-n", "users"}, []string{"a key of 0 bytes"}},
		"replicas":     {"redis+cluster://" + server.Addr() + "?read_only=true", []string{"get", "k"}, []string{"leave out read_only"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := nc(t, c.url, c.args...)
			o.want(t, exitFailed, c.want...)
			if o.stdout != "" {
				t.Errorf("an error on standard output: %s", o.stdout)
			}
		})
	}
}

// TestGuideNamesEverything: docs/cli.md has each command and each check.
func TestGuideNamesEverything(t *testing.T) {
	b, err := os.ReadFile("../../docs/cli.md")
	must(t, err)
	guide := string(b)
	for _, c := range newRoot(&terminal{}).Commands() {
		if !strings.Contains(guide, "| `"+c.Use) || !strings.Contains(guide, "$ nearcache "+c.Name()) {
			t.Errorf("the command %s is not in the table, or has no output", c.Use)
		}
	}
	for _, c := range checks {
		if !strings.Contains(guide, "`"+c.name+"`") {
			t.Errorf("the check %s is missing", c.name)
		}
	}
}
