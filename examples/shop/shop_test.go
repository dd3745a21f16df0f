package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/ulikunitz/xz"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sell runs the program and returns its exit code and what it printed.
func sell(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func expect(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("does not say %q:\n%s", part, text)
		}
	}
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestShopKeepsThePromise(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "requests.trace")
	if err := os.WriteFile(trace, bytes.Repeat([]byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 1, 0}, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	real := redistest.Start(t).Addr()
	for name, args := range map[string][]string{
		"embedded":      {"-for", "2s", "-products", "500"},
		"real":          {"-for", "2s", "-products", "500", "-redis", real},
		"real, a trace": {"-for", "1s", "-trace", trace, "-redis", real, "-instances", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := sell(t, args...)
			if code != kept {
				t.Errorf("exit code %d, %s", code, errs)
			}
			expect(t, out, "Watch it at http://127.0.0.1:", "answered by", "L1", "L2", "loader", "over HTTP", "loads", "price updates",
				"propagation", "longest staleness", "reads kept the promise.")
		})
	}
}

// TestShopCanFail: a checker that never objects would prove nothing.
func TestShopCanFail(t *testing.T) {
	code, out, errs := sell(t, "-for", "3s", "-products", "100", "-staleness", "500ms", "-no-invalidate")
	if code != broken {
		t.Errorf("exit code %d, want %d; %s", code, broken, errs)
	}
	expect(t, out, "PROMISE BROKEN", "stale: instance")
}

func TestShopRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var zipped, packed bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Close()
	x, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	x.Write(make([]byte, 4000))
	x.Close()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"unknown flag":   {[]string{"-no-such"}, "no-such"},
		"stray argument": {[]string{"now"}, `unexpected argument "now"`},
		"instances":      {[]string{"-instances", "0"}, "-instances is 0, must be 1 to 64"},
		"time":           {[]string{"-for", "-1s"}, "-for is -1s"},
		"staleness":      {[]string{"-staleness", "1ms", "-products", "10"}, "MaxStaleness is 1ms"},
		"no trace":       {[]string{"-trace", filepath.Join(dir, "none")}, "no such file"},
		"empty trace":    {[]string{"-trace", file("empty", nil)}, "empty"},
		"odd trace":      {[]string{"-trace", file("odd", []byte{1, 2, 3, 4, 5})}, "5 bytes are not a whole number"},
		"not xz":         {[]string{"-trace", file("a.xz", zipped.Bytes())}, "not an xz file"},
		"cut xz":         {[]string{"-trace", file("b.xz", packed.Bytes()[:packed.Len()-20])}, "cannot be read"},
		"no redis":       {[]string{"-redis", "127.0.0.1:1", "-products", "10"}, "127.0.0.1:1 does not answer"},
	} {
		code, _, errs := sell(t, c.args...)
		if code != failed || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, %q; want %d and %q", name, code, errs, failed, c.want)
		}
	}
}
