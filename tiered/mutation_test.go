package tiered

import (
	"bytes"
	"log/slog"
	"math"
	"math/big"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache/l1"
)

type inner struct {
	Name string
	n    int // not a codec's business
}

type bag struct {
	Bool    bool
	Int     int8
	Uint    uint64
	Float   float32
	Complex complex128
	Text    string
	Bytes   []byte
	Numbers []int
	Array   [2]inner
	Map     map[string][]int
	Keyed   map[inner]int
	Pointer *inner
	Any     any
	Anys    []any
	When    time.Time
	Big     *big.Int
	Addr    netip.Addr
	Next    *bag
	inner
	Func  func()
	Mutex sync.Mutex
	cache map[string]int
}

func newBag() *bag {
	b := &bag{
		Bool: true, Int: -1, Uint: 1, Float: float32(math.NaN()), Complex: 1i, Text: "text", Bytes: []byte("bytes"),
		Numbers: []int{1, 2}, Map: map[string][]int{}, Keyed: map[inner]int{{Name: "k"}: 1}, Pointer: &inner{Name: "p"},
		Any: map[string]any{"a": 1, "b": []any{"c"}}, Anys: []any{1, "1", nil}, When: time.Now(), Big: big.NewInt(5),
		Addr: netip.MustParseAddr("fe80::1%eth0"), inner: inner{Name: "embedded"},
	}
	for _, key := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		b.Map[key] = []int{len(b.Map)}
	}
	b.Next = &bag{Next: b} // a cycle
	b.Anys = append(b.Anys, b.Anys)
	return b
}

// TestDigestStays: the hash of a value is the same as long as nobody changes it.
func TestDigestStays(t *testing.T) {
	b := newBag()
	first, ok := digestOf(&b)
	for range 200 {
		_, _ = b.When.MarshalJSON()
		b.Mutex.Lock()
		b.cache, b.n = map[string]int{"computed": 1}, b.n+1
		b.Mutex.Unlock()
		if again, still := digestOf(&b); !ok || !still || again != first {
			t.Fatalf("%x, then %x", first, again)
		}
	}
}

// TestDigestTells: whatever is changed, the hash is another one.
func TestDigestTells(t *testing.T) {
	for name, change := range map[string]func(b *bag){
		"bool":               func(b *bag) { b.Bool = false },
		"int":                func(b *bag) { b.Int = 1 },
		"uint":               func(b *bag) { b.Uint = 2 },
		"float":              func(b *bag) { b.Float = 0 },
		"complex":            func(b *bag) { b.Complex = 1 },
		"string":             func(b *bag) { b.Text = "texT" },
		"bytes":              func(b *bag) { b.Bytes[0] = 'B' },
		"element":            func(b *bag) { b.Numbers[1] = 3 },
		"shorter":            func(b *bag) { b.Numbers = b.Numbers[:1] },
		"nil for empty":      func(b *bag) { b.Numbers = nil },
		"array":              func(b *bag) { b.Array[1].Name = "x" },
		"in a map":           func(b *bag) { b.Map["m"][0] = 99 },
		"values swapped":     func(b *bag) { b.Map["a"], b.Map["b"] = b.Map["b"], b.Map["a"] },
		"key added":          func(b *bag) { b.Map["?"] = nil },
		"key removed":        func(b *bag) { delete(b.Map, "a") },
		"behind a pointer":   func(b *bag) { b.Pointer.Name = "x" },
		"nil pointer":        func(b *bag) { b.Pointer = nil },
		"in an interface":    func(b *bag) { b.Any.(map[string]any)["a"] = 2 },
		"type in interface":  func(b *bag) { b.Anys[0] = int8(1) },
		"deep in interfaces": func(b *bag) { b.Any.(map[string]any)["b"].([]any)[0] = "d" },
		"time":               func(b *bag) { b.When = b.When.Add(1) },
		"zone":               func(b *bag) { b.When = b.When.UTC() },
		"big number":         func(b *bag) { b.Big.SetInt64(6) },
		"address":            func(b *bag) { b.Addr = b.Addr.Next() },
		"embedded":           func(b *bag) { b.inner.Name = "x" },
		"next":               func(b *bag) { b.Next.Text = "x" },
		"cycle opened":       func(b *bag) { b.Next.Next = nil },
		"function":           func(b *bag) { b.Func = func() {} },
	} {
		b := newBag()
		before, _ := digestOf(&b)
		change(b)
		if after, ok := digestOf(&b); !ok || after == before {
			t.Errorf("%s: nobody noticed", name)
		}
	}
}

// TestLargeValuesAreNotWatched: also not if their nodes are visited in another order.
func TestLargeValuesAreNotWatched(t *testing.T) {
	large := map[int][]int{}
	for i := range 1000 {
		large[i] = make([]int, maxNodes/1000)
	}
	for range 5 {
		if _, ok := digestOf(&large); ok {
			t.Fatal("was hashed")
		}
	}
	var long *bag
	for range maxNodes {
		long = &bag{Next: long}
	}
	if _, ok := digestOf(&long); ok {
		t.Fatal("was hashed")
	}
}

// TestWatch: a changed value is named once, an unchanged one never, and what is gone
// from L1 is forgotten.
func TestWatch(t *testing.T) {
	var out bytes.Buffer
	w := startWatch[*bag]("bags", slog.New(slog.NewTextHandler(&out, nil)))
	defer w.close()
	entries := map[string]*l1.Entry[*bag]{}
	for _, key := range []string{"changed", "same", "gone"} {
		entries[key] = &l1.Entry[*bag]{Key: key, Value: newBag()}
		w.note(entries[key])
	}
	w.sweep()
	if out.Len() > 0 || w.found.Load() != 0 {
		t.Fatalf("before anything was changed: %s", out.String())
	}
	entries["changed"].Value.Text = "x"
	w.sweep()
	w.sweep()
	if n := strings.Count(out.String(), "key=changed"); n != 1 || w.found.Load() != 1 || strings.Contains(out.String(), "key=same") {
		t.Fatalf("%d found: %s", w.found.Load(), out.String())
	}
	w.note(entries["changed"]) // loaded anew
	entries["changed"].Value.Text = "y"
	w.sweep()
	if strings.Count(out.String(), "key=changed") != 1 || w.found.Load() != 2 {
		t.Fatalf("%d found: %s", w.found.Load(), out.String())
	}
	delete(entries, "gone")
	for deadline := time.Now().Add(10 * time.Second); len(w.held()) != 1; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("an entry is held")
		}
	}
	runtime.KeepAlive(entries)
}

func TestNamesAreBounded(t *testing.T) {
	var out bytes.Buffer
	w := startWatch[*int]("ints", slog.New(slog.NewTextHandler(&out, nil)))
	defer w.close()
	var entries []*l1.Entry[*int]
	for i := range maxNamed + 10 {
		entries = append(entries, &l1.Entry[*int]{Key: strings.Repeat("k", i+1), Value: new(int)})
		w.note(entries[i])
		*entries[i].Value = 1
	}
	w.sweep()
	if n := strings.Count(out.String(), "\n"); n != maxNamed || w.found.Load() != maxNamed+10 {
		t.Fatalf("%d lines, %d found", n, w.found.Load())
	}
}
