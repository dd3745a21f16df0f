package nearcache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/internal/audit"
)

// player is one instance of a cache that is judged.
type player interface {
	read(ctx context.Context, key string, bypass bool) (version int, err error)
	invalidate(ctx context.Context, key string) error
	set(ctx context.Context, p product) error
}

// ours is a player of this library.
type ours struct{ *nearcache.Cache[product] }

func (o ours) read(ctx context.Context, key string, bypass bool) (int, error) {
	var p product
	var err error
	if bypass {
		p, err = o.Get(ctx, key, nearcache.SkipL1())
	} else {
		p, err = o.Get(ctx, key)
	}
	return p.Version, err
}

func (o ours) invalidate(ctx context.Context, key string) error { return o.Invalidate(ctx, key) }
func (o ours) set(ctx context.Context, p product) error         { return o.Set(ctx, p.ID, p) }

// stage is some players over one source, whose every read and change is told to
// a journal.
type stage struct {
	source  *source
	players []player
	journal *audit.Journal
	began   time.Time
	commits sync.Map // key to the turn of who may make its next version
}

func newStage(src *source, bound time.Duration, players ...player) *stage {
	return &stage{source: src, players: players, journal: audit.NewJournal(bound, len(players)), began: time.Now()}
}

func (s *stage) now() time.Duration { return time.Since(s.began) }

// change commits the next version of key at the source and announces it from
// an instance. Versions of one key are committed in order, and invalidated in
// any; sets that race could land in either order, so here their caller orders
// them.
func (s *stage) change(ctx context.Context, instance int, key string, set bool) (err error) {
	// A channel and no mutex: virtual time stands still while one is waited for.
	turn, _ := s.commits.LoadOrStore(key, make(chan struct{}, 1))
	commit := turn.(chan struct{})
	commit <- struct{}{}
	version := s.source.version(key) + 1
	s.journal.Visible(key, int64(version), s.now())
	s.source.put(key, version)
	if set {
		err = s.players[instance].set(ctx, product{ID: key, Version: version})
		<-commit
	} else {
		<-commit
		err = s.players[instance].invalidate(ctx, key)
	}
	if err == nil {
		s.journal.Acked(key, int64(version), instance, s.now())
	}
	return err
}

// read reads key on an instance and has the journal judge it.
func (s *stage) read(ctx context.Context, instance int, key string, bypass bool) error {
	began := s.now()
	version, err := s.players[instance].read(ctx, key, bypass)
	if err == nil {
		s.journal.Read(key, int64(version), instance, began, s.now(), bypass)
	}
	return err
}

// verdict returns what the journal found, after comparing what every instance
// holds after quiet with the source.
func (s *stage) verdict(t testing.TB, keys []string) audit.Report {
	t.Helper()
	for _, key := range keys {
		copies := make([]int64, len(s.players))
		for i, p := range s.players {
			version, err := p.read(context.Background(), key, false)
			if err != nil {
				t.Fatalf("instance %d, %s, after quiet: %v", i, key, err)
			}
			copies[i] = int64(version)
		}
		s.journal.Converged(key, int64(s.source.version(key)), copies)
	}
	return s.journal.Report()
}

// TestLoadsRaceInvalidations: loads that take 5 ms are in flight all the time
// while keys change; nothing stale is kept, and no writer reads behind itself.
func TestLoadsRaceInvalidations(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 3
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { race(t, seed) })
	}
}

// calm is a budget for tests in which Redis is well: a machine that is busy must
// not look like a server that fails.
const calm = 10 * time.Second

func race(t *testing.T, seed uint64) {
	const instances, nKeys, readers, changes = 3, 50, 24, 3000
	const bound = 500 * time.Millisecond
	f := launch(t, instances, func(c *nearcache.Config[product]) { c.MaxStaleness, c.RedisTimeout = bound, calm })
	f.source.delay = 5 * time.Millisecond
	s := newStage(f.source, bound, f.players()...)
	keys := make([]string, nKeys)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
		if err := s.change(t.Context(), 0, keys[i], false); err != nil {
			t.Fatal(err)
		}
	}
	writing, done := context.WithCancel(t.Context())
	var readersDone, writersDone sync.WaitGroup
	for r := range readers {
		rng := rand.New(rand.NewPCG(seed, uint64(r)))
		readersDone.Go(func() {
			for writing.Err() == nil {
				if err := s.read(t.Context(), r%instances, keys[rng.IntN(nKeys)], rng.IntN(20) == 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range instances {
		rng := rand.New(rand.NewPCG(seed, uint64(100+w)))
		writersDone.Go(func() {
			for range changes / instances {
				key := keys[rng.IntN(nKeys)]
				if err := s.change(t.Context(), w, key, rng.IntN(4) == 0); err != nil {
					t.Error(err)
					return
				}
				if rng.IntN(10) > 0 {
					continue
				}
				if err := s.read(t.Context(), w, key, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writersDone.Wait()
	done()
	readersDone.Wait()
	time.Sleep(50 * time.Millisecond) // quiet: announcements are a network hop away
	if r := s.verdict(t, keys); r.Violations() > 0 {
		t.Fatalf("%v", r)
	}
}
