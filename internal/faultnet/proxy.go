// Package faultnet breaks real connections between real clients and servers:
// a TCP proxy on loopback that cuts, silences, delays and mutilates what passes.
package faultnet

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// TB is what a proxy needs of a [testing.TB], so that programs can link this package
// without the testing one.
type TB interface {
	Helper()
	Cleanup(func())
	Fatal(...any)
}

// Proxy stands between clients and one server. Its faults apply to all
// connections, and last until Heal. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener // nil if clients use Dial
	running  sync.WaitGroup

	mu     sync.Mutex
	dial   func() (net.Conn, error) // reaches the server
	moves  int                      // how often that was replaced
	links  map[*link]struct{}
	closed bool
	faults faults
}

// faults is what is wrong now.
type faults struct {
	cut    bool
	silent bool
	delay  time.Duration
	half   bool // cut the next message from the server in the middle
	drop   int  // messages of the server to leave out
}

// Start returns a proxy to the server at target (host:port), listening on a
// loopback port. It ends with the test.
func Start(t TB, target string) *Proxy {
	t.Helper()
	p := New(t, to(target))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.listener = l
	p.running.Go(p.accept)
	return p
}

// New returns a proxy to the server that dial reaches, for clients that use Dial:
// with net.Pipe below it all of it lives in a bubble of testing/synctest. It ends
// with the test.
func New(t TB, dial func() (net.Conn, error)) *Proxy {
	p := Open(dial)
	t.Cleanup(p.Close)
	return p
}

// Open is New outside of tests: the caller closes the proxy.
func Open(dial func() (net.Conn, error)) *Proxy {
	return &Proxy{dial: dial, links: make(map[*link]struct{})}
}

func to(target string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.Dial("tcp", target) }
}

// Addr returns the address that clients dial.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Dial returns a connection through the proxy that is no socket.
func (p *Proxy) Dial() net.Conn {
	client, end := net.Pipe()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		end.Close()
		return client
	}
	p.running.Go(func() { p.serve(end) })
	return client
}

// Point resets every connection and leads new ones to another server, as a
// failover does that moves an address.
func (p *Proxy) Point(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dial = to(target)
	p.moves++
	for l := range p.links {
		l.reset()
	}
}

// Cut resets every connection, and every new one as soon as it is made.
func (p *Proxy) Cut() { p.fault(func(f *faults) { f.cut = true }) }

// Silence lets nothing through in either direction; connections stay open, and
// new ones are accepted.
func (p *Proxy) Silence() { p.fault(func(f *faults) { f.silent = true }) }

// Delay holds everything back for d, in order.
func (p *Proxy) Delay(d time.Duration) { p.fault(func(f *faults) { f.delay = d }) }

// HalfWrite delivers half of the next Pub/Sub message, and then resets its
// connection.
func (p *Proxy) HalfWrite() { p.fault(func(f *faults) { f.half = true }) }

// DropMessages leaves out the next n Pub/Sub messages, each of them whole.
func (p *Proxy) DropMessages(n int) { p.fault(func(f *faults) { f.drop = n }) }

// Heal ends all faults. Connections that swallowed bytes are reset: a stream with
// a hole in it is no TCP.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = faults{}
	for l := range p.links {
		if l.holed {
			l.reset()
		}
	}
}

func (p *Proxy) fault(set func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set(&p.faults)
	if p.faults.cut {
		for l := range p.links {
			l.reset()
		}
	}
}

// Close resets every connection, and waits until nothing of the proxy runs. It may be
// called more than once.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		p.listener.Close()
	}
	for l := range p.links {
		l.reset()
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	dial, moves := p.dial, p.moves
	p.mu.Unlock()
	server, err := dial()
	if err != nil {
		abort(client)
		return
	}
	l := &link{proxy: p, client: client, server: server, gone: make(chan struct{})}
	if !p.admit(l, moves) {
		l.reset()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.copy(l.server, l.client, nil) })
	both.Go(func() { l.copy(l.client, l.server, &splitter{}) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

func (p *Proxy) admit(l *link, moves int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.faults.cut || p.moves != moves {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

// link is one proxied connection.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	holed          bool // bytes were swallowed; guarded by proxy.mu
	resetting      sync.Once
	gone           chan struct{}
}

func (l *link) reset() {
	l.resetting.Do(func() {
		close(l.gone)
		abort(l.client)
		abort(l.server)
	})
}

// abort closes with a reset, as a host does that has lost the connection.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// parcel is a chunk on its way.
type parcel struct {
	bytes []byte
	came  time.Time
}

// underway is how many chunks a link holds back before it stops reading.
const underway = 4096

// copy carries bytes one way until either side fails. What is held back does not
// keep the sender waiting: a server would not be slowed by a network that is.
func (l *link) copy(to, from net.Conn, frames *splitter) {
	parcels := make(chan parcel, underway)
	var delivering sync.WaitGroup
	delivering.Go(func() {
		defer l.reset()
		for p := range parcels {
			if !l.carry(to, p, frames) {
				return
			}
		}
	})
	defer delivering.Wait()
	defer close(parcels)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case parcels <- parcel{bytes.Clone(buf[:n]), time.Now()}:
			case <-l.gone:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// carry delivers a chunk, in parts where it holds messages to be mutilated. Those
// from the server are split into frames, so that messages can be told apart.
func (l *link) carry(to net.Conn, p parcel, frames *splitter) bool {
	if frames == nil {
		return l.deliver(to, p.bytes, p.came)
	}
	for _, frame := range frames.split(p.bytes) {
		switch drop, half := l.mutilate(frame.message); {
		case drop:
		case half:
			l.deliver(to, frame.bytes[:len(frame.bytes)/2], p.came)
			return false
		default:
			if !l.deliver(to, frame.bytes, p.came) {
				return false
			}
		}
	}
	return true
}

// mutilate uses up a fault that waits for a message.
func (l *link) mutilate(message bool) (drop, half bool) {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	f := &l.proxy.faults
	switch {
	case !message:
	case f.drop > 0:
		f.drop--
		drop = true
	case f.half:
		f.half = false
		half = true
	}
	return drop, half
}

func (l *link) deliver(to net.Conn, b []byte, came time.Time) bool {
	l.proxy.mu.Lock()
	silent, delay := l.proxy.faults.silent, l.proxy.faults.delay
	l.holed = l.holed || silent
	silent = l.holed // what comes after a hole must not arrive either
	l.proxy.mu.Unlock()
	if silent {
		return true
	}
	if left := delay - time.Since(came); left > 0 {
		select {
		case <-time.After(left):
		case <-l.gone:
			return false
		}
	}
	_, err := to.Write(b)
	return err == nil
}
