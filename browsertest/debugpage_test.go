package browsertest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/browsertest/internal/browser"
	"github.com/nearcache/nearcache/debugpage"
	"github.com/nearcache/nearcache/internal/redistest"
)

const hostileKey = `"><script>document.title="owned"</script><img src=x onerror="document.title='owned'">`

// debugged is a page with a cache over a real Redis, on a server.
type debugged struct {
	*httptest.Server
	cache *nearcache.Cache[string]
	page  *debugpage.Page
}

func serveDebugPage(t *testing.T, cfg debugpage.Config) *debugged {
	t.Helper()
	d := &debugged{page: debugpage.New(cfg)}
	t.Cleanup(d.page.Close)
	name := fmt.Sprintf("debugpage-%d", time.Now().UnixNano())
	var err error
	d.cache, err = nearcache.New(nearcache.Config[string]{
		Name: name, Redis: redistest.Start(t).Client(t), Hooks: d.page.Hooks("users"),
		Load:   func(_ context.Context, key string) (string, error) { return "the value of " + key, nil },
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cache.Close() })
	d.page.Watch("users", d.cache)
	mux := http.NewServeMux()
	mux.Handle("/a/debug/", d.page)
	d.Server = httptest.NewServer(mux)
	t.Cleanup(d.Server.Close)
	d.read(t, "42", 100)
	return d
}

// read asks for a key n times.
func (d *debugged) read(t *testing.T, key string, n int) {
	t.Helper()
	for range n {
		if _, err := d.cache.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// look opens the page in a tab.
func (d *debugged) look(t *testing.T, query string) (*tab, *console) {
	t.Helper()
	b := &tab{t: t, ctx: browser.Open(t)}
	c := watchConsole(t, b.ctx)
	b.goTo(d.URL + "/a/debug/" + query)
	return b, c
}

func (b *tab) goTo(url string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(url)); err != nil {
		b.t.Fatal(err)
	}
}

// until waits for an expression to be true.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	for {
		yes, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		switch {
		case err == nil && yes:
			return
		case ctx.Err() != nil:
			b.t.Fatalf("never true: %s (%v)", expression, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestDebugPageLoads: everything is there, and the browser has nothing to complain of.
// What the policy forbids it does not do.
func TestDebugPageLoads(t *testing.T) {
	d := serveDebugPage(t, debugpage.Config{})
	b, c := d.look(t, "")
	b.until(`document.querySelector("#verdict").textContent.includes("Current: proven")`)
	b.until(`document.querySelectorAll("svg.small path.a[d^=M]").length >= 3`) // a sample is drawn
	plots := eval[int](b, `[...document.querySelectorAll("svg.plot")].filter(e => e.getBoundingClientRect().width > 250 && e.getBoundingClientRect().height > 100).length`)
	if plots != 7 {
		t.Errorf("%d plots are visible, want 7", plots)
	}
	for _, wrong := range []struct{ what, query string }{
		{"plots without a title or a text", `svg.plot:not(:has(> title)), svg.plot:not(:has(> desc))`},
		{"inputs without a label", `input:not([type=hidden]):not(#key)`},
		{"styles or scripts inside the page", `style, script:not([src]), [style], [onclick]`},
	} {
		if n := eval[int](b, fmt.Sprintf("document.querySelectorAll(%q).length", wrong.query)); n != 0 {
			t.Errorf("%d %s", n, wrong.what)
		}
	}
	if lines := c.take(); len(lines) > 0 {
		t.Errorf("the browser complains: %q", lines)
	}
	eval[bool](b, `(() => { const s = document.createElement("script"); s.textContent = "document.title = 'ran'"; document.body.append(s); return true })()`)
	if title := eval[string](b, "document.title"); title != "users · nearcache" {
		t.Errorf("the title is %q: the policy is not in force", title)
	}
	b.until(`true`)
	if lines := c.take(); len(lines) == 0 {
		t.Error("the browser does not complain of a script inside the page: the watch is deaf")
	}
}

// TestDebugPageRefreshes: what happens shows without a reload, where the reader is not
// busy, and the page says when it is cut off.
func TestDebugPageRefreshes(t *testing.T) {
	d := serveDebugPage(t, debugpage.Config{})
	b, c := d.look(t, "")
	eval[bool](b, "window.mine = true")
	if err := chromedp.Do(b.ctx, chromedp.SendKeys(chromedp.CSS("#key"), "half a wo")); err != nil {
		t.Fatal(err)
	}
	d.read(t, "42", 70_000)
	b.until(`Number(document.querySelector("#stats dd").textContent.replaceAll(",", "")) > 70000`)
	b.until(`document.querySelector("[aria-labelledby^=reads-] path.a").getAttribute("d").includes("L")`)
	if !eval[bool](b, `window.mine && document.activeElement.id === "key" && document.activeElement.value === "half a wo"`) {
		t.Error("the page was loaded again, or the form lost what was typed")
	}
	if lines := c.take(); len(lines) > 0 {
		t.Errorf("the browser complains: %q", lines)
	}
	// Who stands on a link does not lose it, while the rest goes on.
	eval[bool](b, `(window.link = document.querySelector("#caches a"), window.link.focus(), true)`)
	for range 2 {
		b.until(`document.querySelector("#at").textContent !== "` + eval[string](b, `document.querySelector("#at").textContent`) + `"`)
	}
	if !eval[bool](b, `document.activeElement === window.link`) {
		t.Error("a link lost the focus")
	}
	eval[bool](b, `(document.querySelector("#pause").click(), true)`)
	at := eval[string](b, `document.querySelector("#at").textContent`)
	time.Sleep(3 * time.Second)
	if now := eval[string](b, `document.querySelector("#at").textContent`); now != at {
		t.Errorf("paused at %s, and shows %s", at, now)
	}
	eval[bool](b, `(document.querySelector("#pause").click(), true)`)
	b.until(`document.querySelector("#at").textContent !== "` + at + `"`)
	if eval[bool](b, `document.querySelector("#lost").checkVisibility()`) {
		t.Error("says that it is cut off")
	}
	d.CloseClientConnections()
	d.Listener.Close()
	b.until(`document.querySelector("#lost").checkVisibility()`)
}

// TestDebugPageExplains a key that is typed, with the keyboard alone; a hostile one too.
func TestDebugPageExplains(t *testing.T) {
	d := serveDebugPage(t, debugpage.Config{ShowKeys: true})
	d.read(t, hostileKey, 20_000) // of which about 20 are sampled
	b, c := d.look(t, "")
	for focused := ""; focused != "key"; focused = eval[string](b, "document.activeElement.id") {
		if err := chromedp.Do(b.ctx, chromedp.KeyEvent("\t")); err != nil {
			t.Fatal(err)
		}
	}
	if err := chromedp.Do(b.ctx, chromedp.KeyEvent("42\r")); err != nil {
		t.Fatal(err)
	}
	b.until(`document.querySelector("#answer")?.innerText.includes("The next read of 42: L1 hit") === true`)
	if text := b.text(); strings.Contains(text, "the value of") {
		t.Error("a value is shown")
	}
	if !eval[bool](b, `document.querySelector("#keys").innerText.includes('<script>document.title="owned"')`) {
		t.Errorf("the hostile key is not among the hottest: %s", eval[string](b, `document.querySelector("#keys").innerText`))
	}
	if err := chromedp.Do(b.ctx, chromedp.Click(chromedp.Search(`//a[contains(., "owned")]`))); err != nil {
		t.Fatal(err)
	}
	b.until(`document.querySelector("#answer")?.innerText.includes('"><script>document.title="owned"</script>') === true`)
	b.until(`document.querySelector("#key").value.startsWith('"><script>')`)
	if n := eval[int](b, `document.querySelectorAll("img, script").length`); n != 1 || eval[string](b, "document.title") == "owned" {
		t.Errorf("the hostile key has become markup: %d elements", n)
	}
	if lines := c.take(); len(lines) > 0 {
		t.Errorf("the browser complains: %q", lines)
	}
}

// TestDebugPageInvalidates: with the button if it is switched on, and never for another
// site.
func TestDebugPageInvalidates(t *testing.T) {
	d := serveDebugPage(t, debugpage.Config{AllowInvalidate: true})
	b, c := d.look(t, "?key=42")
	holds := func(what string) {
		t.Helper()
		x, err := d.cache.Explain(t.Context(), "42")
		if err != nil || x.L1.Holds != what {
			t.Fatalf("L1 has %q, want %q: %v", x.L1.Holds, what, err)
		}
	}
	click := func(selector string) {
		t.Helper()
		if err := chromedp.Do(b.ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
			t.Fatal(err)
		}
	}
	holds("value")
	click("button.danger")
	b.until(`document.querySelector("#ask .notice")?.textContent === "Invalidated on every instance."`)
	if x, err := d.cache.Explain(t.Context(), "42"); err != nil || x.L1.Refused == "" {
		t.Fatalf("L1 still serves it: %v, %v", x, err)
	}
	if lines := c.take(); len(lines) > 0 {
		t.Errorf("the browser complains: %q", lines)
	}

	d.read(t, "42", 1)
	before := d.cache.Stats().Invalidations
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `<!doctype html><form method="post" action="%s/a/debug/"><input name="cache" value="users">
			<input name="key" value="42"><button>win</button></form>`, d.URL)
	}))
	t.Cleanup(evil.Close)
	b.goTo(strings.Replace(evil.URL, "127.0.0.1", "localhost", 1))
	click("button")
	b.until(`document.body.innerText.includes("refused: the request comes from another site")`)
	if n := d.cache.Stats().Invalidations; n != before {
		t.Errorf("another site invalidated %d keys", n-before)
	}
}

// TestDebugPageFits: no window is too narrow, with whatever names, and dark is dark.
func TestDebugPageFits(t *testing.T) {
	d := serveDebugPage(t, debugpage.Config{ShowKeys: true, AllowInvalidate: true})
	long := strings.Repeat("wide", 200)
	h := d.page.Hooks("users")
	h.Sampled(long, true)
	h.Event(nearcache.Event{Kind: "fault", Shard: -1, Server: long, Err: errors.New(long)})
	d.page.Hooks(long)
	b, _ := d.look(t, "?key="+long)
	b.until(`document.querySelectorAll("svg.small path.a[d^=M]").length >= 3`)
	var grounds []string
	for _, c := range []struct {
		width  int64
		scheme browser.Scheme
	}{{390, browser.Light}, {390, browser.Dark}, {320, browser.Light}, {700, browser.Light}, {1280, browser.Light}, {1280, browser.Dark}} {
		browser.Screenshot(t, b.ctx, fmt.Sprintf("debugpage-%d-%s", c.width, c.scheme), c.width, 2400, c.scheme)
		if width := eval[int64](b, "document.documentElement.scrollWidth"); width > c.width {
			t.Errorf("%d pixels wide in a window of %d", width, c.width)
		}
		if small := eval[string](b, `[...document.querySelectorAll("svg.plot")].filter(e => e.checkVisibility())
			.map(e => e.getBoundingClientRect().width / e.viewBox.baseVal.width).filter(s => s < .65).join()`); small != "" {
			t.Errorf("plots are scaled to %s in a window of %d", small, c.width)
		}
		grounds = append(grounds, eval[string](b, "getComputedStyle(document.body).backgroundColor"))
	}
	if grounds[0] == grounds[1] || grounds[4] == grounds[5] {
		t.Errorf("light and dark are %q", grounds)
	}
}
