package nearcache_test

import (
	"context"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/redistest"
)

// TestFaultLostMessage: announcements vanish on a connection that is fine.
func TestFaultLostMessage(t *testing.T) {
	const bound = 4 * time.Second // a heartbeat a second
	s := newScene(t, redistest.Start(t), 2, 20, bound)
	stop := s.readers(t)
	s.wires[1].DropMessages(3)
	s.changeAll(t, 0, s.keys[:3])
	t.Logf("repaired after %v by a heartbeat", s.repaired(t, s.keys[:3]))
	s.kept(t, 1, s.keys[3:])

	// And where another announcement follows, it shows the gap.
	s.wires[1].DropMessages(1)
	s.changeAll(t, 0, s.keys[3:5])
	t.Logf("repaired after %v by the next message", s.repaired(t, s.keys[3:5]))
	s.kept(t, 1, s.keys[5:])
	stop()
	s.judged(t)
	if st := s.fleet.caches[1].Stats(); st.Replays == 0 || st.Gaps == 0 || st.Distrusts != 0 {
		t.Fatalf("repaired with %d replays, %d gaps, %d distrusts", st.Replays, st.Gaps, st.Distrusts)
	}
}

// TestFaultReset: no connection for half a second, a thousand changes
// meanwhile.
func TestFaultReset(t *testing.T) {
	s := newScene(t, redistest.Start(t), 2, 1100, noBound)
	s.wires[1].Cut()
	s.changeAll(t, 0, s.keys[:1000])
	time.Sleep(500 * time.Millisecond)
	s.wires[1].Heal()
	t.Logf("repaired %v after the connection was back", s.repaired(t, s.keys[999:1000]))
	for _, key := range s.keys[:1000] { // with the last one, all of them
		s.fleet.expect(t, 1, key, 2)
	}
	s.kept(t, 1, s.keys[1000:])
	s.judged(t)
	if st := s.fleet.caches[1].Stats(); st.Distrusts != 0 || st.Epochs != 0 {
		t.Fatalf("a reset cost %d distrusts, %d epochs", st.Distrusts, st.Epochs)
	}
}

// TestFaultHalfFrame: the connection breaks in the middle of an announcement.
func TestFaultHalfFrame(t *testing.T) {
	s := newScene(t, redistest.Start(t), 2, 20, noBound)
	stop := s.readers(t)
	s.wires[1].HalfWrite()
	s.changeAll(t, 0, s.keys[:5])
	t.Logf("repaired after %v", s.repaired(t, s.keys[:5]))
	s.kept(t, 1, s.keys[5:])
	stop()
	s.judged(t)
}

// TestFaultKilledSubscribers: the server closes every subscription.
func TestFaultKilledSubscribers(t *testing.T) {
	s := newScene(t, redistest.Start(t), 2, 20, noBound)
	stop := s.readers(t)
	for range 3 {
		if err := s.admin.Do(context.Background(), "client", "kill", "type", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
		s.changeAll(t, 0, s.keys[:5])
		t.Logf("repaired after %v", s.repaired(t, s.keys[:5]))
	}
	s.kept(t, 1, s.keys[5:])
	stop()
	s.judged(t)
}

// TestFaultSilence: the connection stays open and carries nothing, so that no
// side is told.
func TestFaultSilence(t *testing.T) {
	const bound = 500 * time.Millisecond
	s := newScene(t, redistest.Start(t), 2, 20, bound)
	stop := s.readers(t)
	s.wires[1].Silence()
	s.changeAll(t, 0, s.keys)
	t.Logf("repaired after %v of silence", s.repaired(t, s.keys))
	for range 20 { // on and on, beyond the bound
		s.changeAll(t, 0, s.keys)
		time.Sleep(bound / 10)
	}
	s.wires[1].Heal()
	s.warm(t)
	stop()
	s.judged(t)
	if st := s.fleet.caches[1].Stats(); st.ProofAge < 0 || st.Epochs != 0 {
		t.Fatalf("after the silence: proof age %v, %d epochs", st.ProofAge, st.Epochs)
	}
}

// TestFaultDelay: everything arrives, late.
func TestFaultDelay(t *testing.T) {
	s := newScene(t, redistest.Start(t), 2, 20, time.Second)
	stop := s.readers(t)
	for _, late := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
		s.wires[1].Delay(late)
		for range 10 {
			s.changeAll(t, 0, s.keys)
			time.Sleep(50 * time.Millisecond)
		}
		t.Logf("repaired after %v, everything %v late", s.repaired(t, s.keys), late)
	}
	s.wires[1].Heal()
	s.warm(t)
	stop()
	s.judged(t)
}

// TestFaultTrimmedLog: what was missed is not in the log any more.
func TestFaultTrimmedLog(t *testing.T) {
	s := newScene(t, redistest.Start(t), 2, 20, noBound)
	stop := s.readers(t)
	s.wires[1].Cut()
	s.changeAll(t, 0, s.keys[:10])
	s.admin.XTrimMaxLen(context.Background(), "{products}:log", 0)
	s.wires[1].Heal()
	t.Logf("repaired after %v", s.repaired(t, s.keys[:10]))
	s.warm(t)
	stop()
	s.judged(t)
	if st := s.fleet.caches[1].Stats(); st.Distrusts != 1 || st.Epochs != 0 {
		t.Fatalf("%d distrusts, %d epochs; want one distrust", st.Distrusts, st.Epochs)
	}
}

// TestFaultLateLoader: a key is changed, on another instance, while it is being
// loaded.
func TestFaultLateLoader(t *testing.T) {
	s := newScene(t, redistest.Start(t), 2, 0, noBound)
	late := holdLease(t, s)
	late.overtaken(t)
	s.fleet.expect(t, 0, leased, 2, nearcache.SkipL1()) // does not join
	eventually(t, "the change is applied", func() bool { return s.fleet.caches[0].Stats().Lag.Count > 0 })
	late.fillsNothing(t)
}
