// Package browser drives a headless Chromium for tests. A tab is a context.Context, as
// the actions of package chromedp take it.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// limit bounds what one browser may take altogether, so that one that hangs is told from
// one that is slow.
const limit = 2 * time.Minute

// Open starts a browser and returns a tab of it. The browser ends with the test, and with
// it whatever its actions are waiting for. Where there is none, the test is skipped or
// fails as the documentation of the module says.
func Open(t testing.TB) context.Context {
	t.Helper()
	path, err := find()
	switch {
	case err != nil && (os.Getenv("NEARCACHE_REQUIRE_BROWSER") == "1" || os.Getenv("NEARCACHE_CHROMIUM") != ""):
		t.Fatal(err)
	case err != nil:
		t.Skipf("SKIPPED: %v", err)
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
	)
	if os.Geteuid() == 0 { // Chromium's sandbox refuses to work for root
		flags = append(flags, chromedp.NoSandbox)
	}
	// Not t.Context, which ends before the cleanup: the browser is to end by itself.
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	ctx, stop := chromedp.NewExecAllocator(ctx, flags...)
	ctx, _ = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		defer cancel()
		defer stop()
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("the browser did not end: %v", err)
		}
	})
	start(t, ctx)
	return ctx
}

// Another returns a tab of the browser of ctx for another user: with cookies and a cache
// of its own.
func Another(t testing.TB, ctx context.Context) context.Context {
	t.Helper()
	other, cancel := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	start(t, other)
	return other
}

func start(t testing.TB, ctx context.Context) {
	t.Helper()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("the browser did not start: %v", err)
	}
}

// find returns the path of the browser.
func find() (string, error) {
	if name := os.Getenv("NEARCACHE_CHROMIUM"); name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("NEARCACHE_CHROMIUM: %w", err)
		}
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no browser: neither chromium, chromium-browser nor google-chrome is in PATH; install one or name it in NEARCACHE_CHROMIUM")
}
