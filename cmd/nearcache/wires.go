package main

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/nearcache/nearcache/internal/faultnet"
)

// wires are the connections of one instance to all servers, which can be made faulty.
// They end in this process: no server notices more than a client that behaves badly.
type wires struct {
	direct dialer

	mu      sync.Mutex
	proxies map[string]*faultnet.Proxy
	fault   func(*faultnet.Proxy) // that is on now, for those that are yet to come
}

func newWires(direct dialer) *wires {
	return &wires{direct: direct, proxies: make(map[string]*faultnet.Proxy), fault: (*faultnet.Proxy).Heal}
}

// dial reaches a server through its proxy. TLS is between the proxy and the server: the
// faults need to see messages.
func (w *wires) dial(_ context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.proxies[addr]
	if p == nil {
		p = faultnet.Open(func() (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return w.direct(ctx, network, addr)
		})
		w.proxies[addr] = p
		w.fault(p)
	}
	return p.Dial(), nil
}

// inject puts a fault on all connections, until the next one.
func (w *wires) inject(fault func(*faultnet.Proxy)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
	for _, p := range w.proxies {
		fault(p)
	}
}

func (w *wires) heal() { w.inject((*faultnet.Proxy).Heal) }

func (w *wires) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.proxies {
		p.Close()
	}
}
