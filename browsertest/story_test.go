package browsertest_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nearcache/nearcache/browsertest/internal/browser"
	"github.com/nearcache/nearcache/internal/redistest"
)

// startShop runs the shop of the examples and returns the address of its debug page.
func startShop(t *testing.T, args ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "shop")
	build := exec.Command("go", "build", "-o", program, "./shop")
	build.Dir = filepath.Join("..", "examples")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	shop := exec.Command(program, args...)
	out, err := shop.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shop.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = shop.Process.Signal(os.Interrupt)
		_, _ = io.Copy(io.Discard, out)
		_ = shop.Wait() // a shop that is interrupted ends with any code
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if url := regexp.MustCompile(`http://\S+`).FindString(lines.Text()); url != "" {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return url
		}
	}
	t.Fatal("the shop does not tell where its page is")
	return ""
}

// TestDebugPageStory: somebody who opens the page after the fact sees what happened to a
// busy shop: Redis was silent for a while, came back, and later the subscriptions were
// cut. With NEARCACHE_PICTURES=folder it takes its time, and writes the pictures of the
// documents there:
//
//	NEARCACHE_PICTURES=../docs go test -C browsertest -run TestDebugPageStory .
func TestDebugPageStory(t *testing.T) {
	folder := os.Getenv("NEARCACHE_PICTURES")
	length := func(quick, full time.Duration) time.Duration {
		if folder != "" {
			return full
		}
		return quick
	}
	const second = time.Second
	server := redistest.StartProcess(t)
	b := &tab{t: t, ctx: browser.Open(t)} // early, since its start takes the processor away
	c := watchConsole(t, b.ctx)
	if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(1100, 1060)); err != nil {
		t.Fatal(err)
	}
	url := startShop(t, "-redis", server.Addr(), "-instances", "2", "-for", "5m")
	time.Sleep(length(4*second, 30*second))
	server.Pause(t)
	time.Sleep(length(5*second, 12*second))
	server.Resume(t)
	time.Sleep(length(3*second, 20*second))
	if err := server.Client(t).ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(length(2*second, 12*second))

	b.goTo(url)
	b.until(`document.querySelector("#verdict").textContent.includes("Current")`)
	for _, name := range []string{"Redis away", "Redis answers", "subscription lost", "subscribed"} {
		b.until(`[...document.querySelectorAll("svg.wide .name")].some(e => e.textContent === "` + name + `")`)
	}
	b.until(`document.querySelectorAll("svg.wide .shade").length > 0`)
	// The proof was older than its bound: the line rises above it.
	b.until(`document.querySelector("svg.wide path.a").getBBox().y < document.querySelector("svg.wide line.bound").getBBox().y`)
	for _, p := range []struct {
		name          string
		width, height int64
		scheme        browser.Scheme
	}{
		{"debugpage-light", 1100, 1060, browser.Light}, {"debugpage-dark", 1100, 1060, browser.Dark}, {"debugpage-phone", 390, 1240, browser.Light},
	} {
		picture := browser.Screenshot(t, b.ctx, p.name, p.width, p.height, p.scheme)
		if folder == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, p.name+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
		if len(picture) > 200_000 {
			t.Errorf("%s has %d bytes, more than a document should", p.name, len(picture))
		}
	}
	if lines := c.take(); len(lines) > 0 {
		t.Errorf("the browser complains: %q", lines)
	}
}
