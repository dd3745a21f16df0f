package l1

import (
	"fmt"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

// BenchmarkHit compares a hit with Ristretto's own, string key and TTL, in one
// run: the ratio is what counts.
func BenchmarkHit(b *testing.B) {
	const n = 10_000
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("product:%08d", i)
	}
	store, err := New[[200]byte](64<<20, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	bare, err := ristretto.NewCache(&ristretto.Config[string, [200]byte]{
		NumCounters: 10 * n, MaxCost: 64 << 20, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	epoch := NewEpoch("", 1, 65536)
	epoch.Prove(Always)
	for _, k := range keys {
		store.Put(&Entry[[200]byte]{Key: k, Epoch: epoch, Stamp: 1}, Life{Expires: Always})
		bare.SetWithTTL(k, [200]byte{}, 1, time.Hour)
	}
	store.cache.Wait()
	bare.Wait()

	ours := func(i int) bool { _, saw := store.Get(keys[i%n], time.Second); return saw == Plain }
	theirs := func(i int) bool { _, ok := bare.Get(keys[i%n]); return ok }
	for _, c := range []struct {
		name string
		get  func(int) bool
	}{{"store", ours}, {"ristretto", theirs}} {
		b.Run("serial/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if !c.get(i * 7919) {
					b.Fatal("miss")
				}
			}
		})
		b.Run("parallel/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					c.get(i * 7919)
				}
			})
		})
	}
}
