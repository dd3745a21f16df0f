package browsertest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/nearcache/nearcache/browsertest/internal/browser"
)

// tab is one user's, and what it exchanges.
type tab struct {
	t       *testing.T
	ctx     context.Context
	traffic *browser.Traffic
}

func newTab(t *testing.T, ctx context.Context) *tab {
	t.Helper()
	return &tab{t, ctx, browser.Watch(t, ctx)}
}

// does runs an action that sends one request, and returns the exchange.
func (b *tab) does(action chromedp.Action[chromedp.Void]) browser.Exchange {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, action); err != nil {
		b.t.Fatal(err)
	}
	return b.traffic.Next(b.t, b.ctx)
}

func (b *tab) visit(url string) browser.Exchange {
	b.t.Helper()
	return b.does(chromedp.Navigate(url))
}

// text is what the page shows.
func (b *tab) text() string {
	b.t.Helper()
	return eval[string](b, "document.body.innerText")
}

// fetch is the page's fetch, with options in the notation of JavaScript. It returns the
// body that the page sees.
func (b *tab) fetch(path, options string) (browser.Exchange, string) {
	b.t.Helper()
	body := eval[string](b, fmt.Sprintf("fetch(%q, %s).then(r => r.text())", path, options))
	return b.traffic.Next(b.t, b.ctx), body
}

func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// speak has a tab ask for a language.
func (b *tab) speak(language string) {
	b.t.Helper()
	agent := eval[string](b, "navigator.userAgent")
	_, err := chromedp.Call(b.ctx, emulation.SetUserAgentOverride,
		emulation.SetUserAgentOverrideParams{UserAgent: agent, AcceptLanguage: language})
	if err != nil {
		b.t.Fatal(err)
	}
}
