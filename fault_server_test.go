package nearcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/faultnet"
	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// serverBound is the bound of scenes whose servers fail.
const serverBound = 800 * time.Millisecond

// settledAgain waits until nothing is left to be sent, and every instance
// follows the server again.
func (s *scene) settledAgain(t *testing.T) {
	t.Helper()
	for i, c := range s.fleet.caches {
		eventually(t, "the instance follows the server, and has nothing left to send", func() bool {
			st := c.Stats()
			return st.Pending == 0 && st.ProofAge >= 0 && st.ProofAge < serverBound
		})
		t.Logf("instance %d: %d epochs, %d values refused, %d fills refused", i,
			c.Stats().Epochs, c.Stats().RefusedValues, c.Stats().RefusedFills)
	}
}

// TestFaultEmptyRestart: kill -9, and nothing is left when the server is back.
// Changes are made before, while it is down, and after.
func TestFaultEmptyRestart(t *testing.T) {
	server := redistest.StartProcess(t)
	s := newScene(t, server, 2, 20, serverBound)
	stop := s.readers(t)
	s.changeAll(t, 0, s.keys[:5])
	server.Kill(t)
	s.changeFailing(t, 0, s.keys[5:10])
	for _, key := range s.keys[5:10] { // where it was made, it took effect
		s.fleet.expect(t, 0, key, s.fleet.source.version(key))
	}
	time.Sleep(2 * serverBound) // reads go on, past the bound
	server.Restart(t)
	s.repaired(t, s.keys)
	s.settledAgain(t)
	s.changeAll(t, 1, s.keys)
	s.refilled(t, s.keys[0])
	s.warm(t)
	stop()
	s.judged(t)
}

// TestFaultFlushAll: the data are gone, the server and its connections are not.
func TestFaultFlushAll(t *testing.T) {
	s := newScene(t, redistest.StartProcess(t), 2, 20, serverBound)
	stop := s.readers(t)
	for range 3 {
		s.changeAll(t, 0, s.keys[:5])
		if err := s.admin.FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		s.changeAll(t, 1, s.keys[3:8])
		t.Logf("repaired after %v", s.repaired(t, s.keys))
	}
	s.settledAgain(t)
	s.refilled(t, s.keys[0])
	stop()
	s.judged(t)
	if st := s.fleet.caches[0].Stats(); st.Epochs == 0 {
		t.Fatal("nobody noticed")
	}
}

// TestFaultScriptFlush: the server forgets the scripts.
func TestFaultScriptFlush(t *testing.T) {
	s := newScene(t, redistest.StartProcess(t), 2, 20, noBound)
	stop := s.readers(t)
	for range 5 {
		if err := s.admin.ScriptFlush(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		s.changeAll(t, 0, s.keys)
		s.repaired(t, s.keys)
	}
	s.warm(t)
	stop()
	s.judged(t)
	if st := s.fleet.caches[0].Stats(); st.FailedChanges+st.RedisErrors+st.Epochs != 0 {
		t.Fatalf("it cost failures: %+v", st)
	}
}

// TestFaultOldSnapshot: the server comes back with what it had saved before the
// last changes.
func TestFaultOldSnapshot(t *testing.T) {
	for name, strict := range map[string]bool{"lenient": false, "strict": true} {
		t.Run(name, func(t *testing.T) {
			server := redistest.StartProcess(t)
			s := newScene(t, server, 2, 20, serverBound, func(c *nearcache.Config[product]) { c.Strict = strict })
			lease := holdLease(t, s)
			if err := s.admin.Save(context.Background()).Err(); err != nil {
				t.Fatal(err)
			}
			stop := s.readers(t)
			s.changeAll(t, 0, s.keys[:10])
			lease.overtaken(t)
			server.Kill(t)
			server.Restart(t)
			s.afterLoss(t, lease)
			stop()
			s.judged(t)
		})
	}
}

// TestFaultFailover: the master dies, and the replica that takes over was cut
// off before the last changes.
func TestFaultFailover(t *testing.T) {
	for name, strict := range map[string]bool{"lenient": false, "strict": true} {
		t.Run(name, func(t *testing.T) {
			master := redistest.StartProcess(t)
			link := faultnet.Start(t, master.Addr())
			// Before the caches: its first replica gives a master another replication id, and
			// an epoch that begins for that would pass for having noticed the loss.
			replica := redistest.StartReplica(t, link.Addr())
			s := newScene(t, master, 2, 20, serverBound, func(c *nearcache.Config[product]) { c.Strict = strict })
			lease := holdLease(t, s)
			if n := s.admin.Wait(context.Background(), 1, 10*time.Second).Val(); n != 1 {
				t.Fatal("the replica does not follow")
			}
			link.Cut()
			stop := s.readers(t)
			s.changeAll(t, 0, s.keys[:10])
			lease.overtaken(t)
			master.Kill(t)
			s.admin = replica.Client(t)
			if err := s.admin.ReplicaOf(context.Background(), "no", "one").Err(); err != nil {
				t.Fatal(err)
			}
			for _, wire := range s.wires {
				wire.Point(replica.Addr())
			}
			s.afterLoss(t, lease)
			stop()
			s.judged(t)
		})
	}
}

// afterLoss is what must be seen once a server is back that has forgotten the
// newest changes.
func (s *scene) afterLoss(t *testing.T, lease *heldLease) {
	t.Helper()
	t.Logf("repaired after %v", s.repaired(t, s.keys))
	for i, c := range s.fleet.caches { // all may be settled as of before the loss
		eventually(t, fmt.Sprintf("instance %d notices", i), func() bool { return c.Stats().Epochs > 0 })
	}
	s.settledAgain(t)
	lease.fillsNothing(t)
	s.refilled(t, s.keys[0])
	s.warm(t)
}

// heldLease is a load that instance 0 has begun, and that a test lets go on.
type heldLease struct {
	s      *scene
	answer chan struct{}
	ended  chan product
}

const leased = "leased"

// holdLease has instance 0 load a key by a loader that read version 1 and waits.
func holdLease(t *testing.T, s *scene) *heldLease {
	t.Helper()
	l := &heldLease{s: s, answer: make(chan struct{}), ended: make(chan product, 1)}
	s.fleet.source.put(leased, 1)
	s.fleet.source.hold(leased, l.answer)
	before := s.fleet.source.loads.Load()
	go func() {
		p, _ := s.fleet.caches[0].Get(context.Background(), leased)
		l.ended <- p
	}()
	eventually(t, "a lease, and a loader that has read", func() bool {
		return s.admin.Exists(context.Background(), "{products}:v:"+leased).Val() == 1 && s.fleet.source.loads.Load() > before
	})
	return l
}

// overtaken changes the key that is being loaded.
func (l *heldLease) overtaken(t *testing.T) {
	t.Helper()
	l.s.fleet.source.hold(leased, nil)
	l.s.fleet.source.put(leased, 2)
	if err := l.s.fleet.caches[1].Invalidate(context.Background(), leased); err != nil {
		t.Fatal(err)
	}
}

// fillsNothing lets the loader answer what it read long ago.
func (l *heldLease) fillsNothing(t *testing.T) {
	t.Helper()
	close(l.answer)
	if p := <-l.ended; p.Version != 1 {
		t.Fatalf("the load ended with %+v, want what it had read", p)
	}
	for range 20 {
		for i := range l.s.fleet.caches {
			l.s.fleet.expect(t, i, leased, 2)
			l.s.fleet.expect(t, i, leased, 2, nearcache.SkipL1())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// TestFaultDemotedMaster: the server answers reads and accepts no writes, since
// it was made a replica or has lost its own.
func TestFaultDemotedMaster(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct{ demote, restore []any }{
		"replica now": {[]any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}},
		"isolated":    {[]any{"config", "set", "min-replicas-to-write", "1"}, []any{"config", "set", "min-replicas-to-write", "0"}},
		// It refuses leases for lack of memory, as a master that serves would.
		"isolated and full": {[]any{"config", "set", "min-replicas-to-write", "1", "maxmemory", "1"},
			[]any{"config", "set", "min-replicas-to-write", "0", "maxmemory", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, redistest.StartProcess(t), 2, 20, serverBound)
			stop := s.readers(t)
			s.changeAll(t, 0, s.keys[:5])
			if err := s.admin.Do(ctx, c.demote...).Err(); err != nil {
				t.Fatal(err)
			}
			for _, cache := range s.fleet.caches {
				eventually(t, "the proof ends", func() bool { return cache.Stats().ProofAge < 0 })
			}
			if err := s.admin.Get(ctx, "{products}:seq").Err(); err != nil {
				t.Fatalf("the server should answer reads: %v", err)
			}
			s.changeFailing(t, 0, s.keys[5:10])
			t.Logf("without an announcement, repaired after %v", s.repaired(t, s.keys))
			for i, cache := range s.fleet.caches { // many at once are no exception
				for _, opts := range [][]nearcache.Option{nil, {nearcache.SkipL1()}} {
					got, err := cache.GetMany(ctx, s.keys, opts...)
					for _, key := range s.keys {
						if want := s.fleet.source.version(key); err != nil || got[key].Version != want {
							t.Errorf("instance %d answered version %d of %s, %v; want %d", i, got[key].Version, key, err, want)
						}
					}
				}
			}
			if err := s.admin.Do(ctx, c.restore...).Err(); err != nil {
				t.Fatal(err)
			}
			s.settledAgain(t)
			s.warm(t)
			stop()
			s.judged(t)
		})
	}
}

// sluice is a connection that, once it is shut, sends no heartbeat, and delivers no reply
// to a look before it is opened again.
type sluice struct {
	net.Conn
	*gates
	looks atomic.Bool
}

type gates struct {
	shut, open chan struct{} // closed when it is
	held       chan struct{} // told of each look that waits
}

func (s *sluice) Write(b []byte) (int, error) {
	select {
	case <-s.shut:
		if bytes.Contains(b, []byte("evalsha")) {
			<-s.open
		}
		s.looks.Store(bytes.Contains(b, []byte("{products}:v:")) && !bytes.Contains(b, []byte("nx")))
	default:
	}
	return s.Conn.Write(b)
}

func (s *sluice) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.looks.Load() {
		s.held <- struct{}{}
		<-s.open
	}
	return n, err
}

// TestFaultSlowLook: a look is answered late, by a master that was demoted before. It was
// proven when it began; who comes when that proof is too old must not join it, young as
// the look itself is.
func TestFaultSlowLook(t *testing.T) {
	const bound = 4 * time.Second
	ctx := context.Background()
	old := redistest.StartProcess(t)
	heir := redistest.StartReplica(t, old.Addr()).Client(t)
	s := newScene(t, old, 1, 1, bound)
	g := &gates{shut: make(chan struct{}), open: make(chan struct{}), held: make(chan struct{}, 100)}
	instance := func(client *redis.Client) *nearcache.Cache[product] {
		cache, err := nearcache.New(nearcache.Config[product]{
			Name: "products", Redis: client, Load: s.fleet.source.load, MaxStaleness: bound, RedisTimeout: calm})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		return cache
	}
	client := redis.NewClient(&redis.Options{Addr: old.Addr(), Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &sluice{Conn: conn, gates: g}, err
	}})
	t.Cleanup(func() { client.Close() })
	left := instance(client) // behind, with the old master
	opened := sync.OnceFunc(func() { close(g.open) })
	t.Cleanup(opened)
	if n := s.admin.Wait(ctx, 1, calm).Val(); n != 1 {
		t.Fatal("the replica does not follow")
	}
	eventually(t, "a proof", func() bool { age := left.Stats().ProofAge; return age >= 0 && age < bound/16 })
	close(g.shut)
	if err := errors.Join(heir.ReplicaOf(ctx, "no", "one").Err(), s.admin.ConfigSet(ctx, "min-replicas-to-write", "1").Err()); err != nil {
		t.Fatal(err)
	}
	s.commit(s.keys)
	if err := instance(heir).Invalidate(ctx, s.keys[0]); err != nil {
		t.Fatal(err)
	}
	acknowledged := time.Now()

	get := func() <-chan int {
		version := make(chan int, 1)
		go func() {
			p, err := left.Get(ctx, s.keys[0])
			if err != nil {
				t.Error(err)
			}
			version <- p.Version
		}()
		return version
	}
	eventually(t, "the proof is old", func() bool { return left.Stats().ProofAge > bound/2 })
	first := get()
	select {
	case <-g.held:
	case <-time.After(calm):
		t.Fatal("no look was made")
	}
	eventually(t, "the bound is over", func() bool { return time.Since(acknowledged) > bound })
	loads := s.fleet.source.loads.Load()
	var late [5]<-chan int
	for i := range late {
		late[i] = get()
	}
	time.Sleep(bound / 8) // they join it, if they do
	opened()
	if v := <-first; v != 1 {
		t.Fatalf("the look found version %d, and so shows nothing", v)
	}
	for _, version := range late {
		if v := <-version; v != 2 {
			t.Errorf("who came after the bound was answered version %d", v)
		}
	}
	if n := s.fleet.source.loads.Load() - loads; n != 1 {
		t.Errorf("they loaded %d times, not once for all", n)
	}
}

// TestFaultAway: the server is refused, or silent, for much longer than the
// bound. Reads go on, and writes fail at once.
func TestFaultAway(t *testing.T) {
	for name, c := range map[string]struct {
		leave, back func(*redistest.Server, testing.TB)
	}{
		"refused": {(*redistest.Server).Kill, (*redistest.Server).Restart},
		"silent":  {(*redistest.Server).Pause, (*redistest.Server).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.StartProcess(t)
			s := newScene(t, server, 2, 20, serverBound)
			stop := s.readers(t)
			c.leave(server, t)
			s.changeFailing(t, 0, s.keys[:3]) // by then the breaker is open
			began := time.Now()
			err := s.fleet.caches[0].Invalidate(context.Background(), s.keys[0])
			var tier *nearcache.TierError
			if !errors.As(err, &tier) {
				t.Fatalf("invalidating without a server: %v", err)
			}
			t.Logf("the error came after %v", time.Since(began).Round(time.Microsecond))
			time.Sleep(3 * serverBound)
			t.Logf("without a server, repaired after %v", s.repaired(t, s.keys))
			c.back(server, t)
			s.settledAgain(t)
			s.warm(t)
			stop()
			s.judged(t)
		})
	}
}

// TestFaultOutOfMemory: the server refuses whatever needs memory. It still
// takes values away.
func TestFaultOutOfMemory(t *testing.T) {
	ctx := context.Background()
	s := newScene(t, redistest.StartProcess(t), 2, 20, serverBound)
	stop := s.readers(t)
	if err := s.admin.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	s.changeAll(t, 0, s.keys[:10])
	s.repaired(t, s.keys)
	if err := s.fleet.caches[0].Set(ctx, s.keys[10], product{ID: s.keys[10], Version: 1}); err == nil {
		t.Fatal("a Set that could not be stored returned nil")
	}
	if err := s.admin.ConfigSet(ctx, "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	s.settledAgain(t)
	s.refilled(t, s.keys[0])
	s.warm(t)
	stop()
	s.judged(t)
	if st := s.fleet.caches[1].Stats(); st.ProofAge < 0 || st.Epochs != 0 {
		t.Fatalf("proof age %v, %d epochs", st.ProofAge, st.Epochs)
	}
}
