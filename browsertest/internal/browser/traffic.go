package browser

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// Exchange is a request that a tab has sent and the head of its response, as they went
// over the wire. What the browser answers from its own cache is none.
type Exchange struct {
	Method, URL string
	Status      int
	Request     http.Header
	Response    http.Header
}

func (x Exchange) String() string {
	return fmt.Sprintf("%s %s %v: %d %v", x.Method, x.URL, x.Request, x.Status, x.Response)
}

// Traffic is what a tab exchanges.
type Traffic struct {
	mu    sync.Mutex
	open  map[network.RequestID]*parts
	done  []Exchange
	added chan struct{} // holds one: something was
}

// parts are of one exchange. The browser tells them in any order.
type parts struct {
	Exchange
	known, asked, answered bool
}

// Watch notes what the tab exchanges from now on.
func Watch(t testing.TB, ctx context.Context) *Traffic {
	t.Helper()
	tr := &Traffic{open: map[network.RequestID]*parts{}, added: make(chan struct{}, 1)}
	if err := chromedp.Listen(ctx, tr.note); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	return tr
}

func (tr *Traffic) note(event any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var id network.RequestID
	var p *parts
	of := func(request network.RequestID) {
		id = request
		if p = tr.open[id]; p == nil {
			p = new(parts)
			tr.open[id] = p
		}
	}
	switch event := event.(type) {
	case *network.EventRequestWillBeSent:
		of(event.RequestID)
		p.known, p.Method, p.URL = true, event.Request.Method, event.Request.URL
	case *network.EventRequestWillBeSentExtraInfo:
		of(event.RequestID)
		p.asked, p.Request = true, fields(event.Headers)
	case *network.EventResponseReceivedExtraInfo:
		of(event.RequestID)
		p.answered, p.Status, p.Response = true, int(event.StatusCode), fields(event.Headers)
	default:
		return
	}
	if !p.known || !p.asked || !p.answered {
		return
	}
	delete(tr.open, id)
	if strings.HasSuffix(p.URL, "/favicon.ico") {
		return // nobody asked for it
	}
	tr.done = append(tr.done, p.Exchange)
	select {
	case tr.added <- struct{}{}:
	default:
	}
}

// fields converts the browser's notation, which has the lines of a field in one string.
func fields(from network.Headers) http.Header {
	h := http.Header{}
	for name, value := range from {
		for line := range strings.SplitSeq(fmt.Sprint(value), "\n") {
			h.Add(name, line)
		}
	}
	return h
}

// Next returns the exchanges one by one, and waits for them.
func (tr *Traffic) Next(t testing.TB, ctx context.Context) Exchange {
	t.Helper()
	for {
		tr.mu.Lock()
		if len(tr.done) > 0 {
			x := tr.done[0]
			tr.done = tr.done[1:]
			tr.mu.Unlock()
			return x
		}
		tr.mu.Unlock()
		select {
		case <-tr.added:
		case <-ctx.Done():
			t.Fatal("the browser has sent nothing more")
		}
	}
}
