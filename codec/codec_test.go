package codec

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

type item struct {
	ID    int64
	Name  string
	Tags  []string
	Sizes map[string]int
	At    time.Time
	Next  *item
	Any   any
}

func roundTrip[V any](t *testing.T, c Codec[V], v V) {
	t.Helper()
	b, err := c.Append([]byte("before"), v)
	if err != nil || !bytes.HasPrefix(b, []byte("before")) {
		t.Fatalf("Append(%v): %q, %v", v, b, err)
	}
	got, err := c.Decode(b[len("before"):])
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Fatalf("%+v came back as %+v, %v", v, got, err)
	}
}

func TestRoundTrips(t *testing.T) {
	v := item{ID: -5, Name: "n", Tags: []string{"a", ""}, Sizes: map[string]int{"x": 1}, Next: &item{ID: 7}}
	roundTrip(t, Msgpack[item](), v)
	roundTrip(t, Msgpack[*item](), &v)
	roundTrip(t, Msgpack[*item](), nil)
	roundTrip(t, Msgpack[[]byte](), []byte{0, 1})
	roundTrip(t, Msgpack[map[string]int](), map[string]int{"a": 1})
	roundTrip(t, JSON[item](), v)
	roundTrip(t, Bytes(), []byte("raw\x00"))
	roundTrip(t, String(), "raw\x00")
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	b, _ := Msgpack[time.Time]().Append(nil, at)
	if got, err := Msgpack[time.Time]().Decode(b); err != nil || !got.Equal(at) {
		t.Fatalf("%v came back as %v, %v", at, got, err)
	}
}

// fast carries the methods that msgp generates.
type fast struct{ n byte }

func (f fast) MarshalMsg(b []byte) ([]byte, error) { return append(b, f.n), nil }
func (f *fast) UnmarshalMsg(b []byte) ([]byte, error) {
	f.n = b[0]
	return b[1:], nil
}

func TestGeneratedCodeIsUsed(t *testing.T) {
	if _, ok := Msgpack[fast]().(generated[fast]); !ok {
		t.Fatal("generated methods are not used")
	}
	roundTrip(t, Msgpack[fast](), fast{n: 42})
	if _, err := Msgpack[fast]().Decode([]byte{0x91}); !errors.Is(err, ErrMalformed) {
		t.Fatalf("generated code was handed malformed bytes: %v", err)
	}
}

// TestHostileBytes: payloads that make the decoder allocate gigabytes or
// overflow its stack must not reach it.
func TestHostileBytes(t *testing.T) {
	for name, b := range map[string]string{
		"empty":                   "",
		"array of 2^31":           "\xdd\x7f\xff\xff\xff",
		"array of 2^26":           "\xdd\x03\xff\xff\xff",
		"array in a field":        "\x81\xa4Tags\xdd\x03\xff\xff\xff",
		"map of 2^31":             "\xdf\x7f\xff\xff\xff",
		"bytes of 2^31":           "\xc6\x7f\xff\xff\xff",
		"string cut off":          "\xa5abc",
		"length cut off":          "\xdd\x00",
		"reserved byte":           "\xc1",
		"trailing bytes":          "\xc0\xc0",
		"deep nesting":            strings.Repeat("\x91", 1<<20) + "\xc0",
		"nesting in unknown keys": "\x81\xa1?" + strings.Repeat("\x91", 1<<20) + "\xc0",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Msgpack[item]().Decode([]byte(b)); !errors.Is(err, ErrMalformed) {
				t.Fatalf("Decode: %v, want ErrMalformed", err)
			}
		})
	}
}

func TestDepthBound(t *testing.T) {
	nested := func(n int) []byte { return []byte(strings.Repeat("\x91", n) + "\xc0") }
	if err := validate(nested(maxDepth - 1)); err != nil {
		t.Fatal(err)
	}
	if err := validate(nested(maxDepth)); err == nil {
		t.Fatal("nested deeper than the bound")
	}
}

func TestPooledEncodersAreNotShared(t *testing.T) {
	var users sync.WaitGroup
	for i := range 8 {
		users.Go(func() {
			for range 500 {
				b, err := Msgpack[item]().Append(nil, item{ID: int64(i)})
				if got, derr := Msgpack[item]().Decode(b); err != nil || derr != nil || got.ID != int64(i) {
					t.Errorf("%d came back as %d, %v, %v", i, got.ID, err, derr)
				}
			}
		})
	}
	users.Wait()
}

func envelope(h Header, payload string) []byte {
	b := append(Begin(nil, h.Validator, h.Tags), payload...)
	Finish(b, h)
	return b
}

func TestEnvelope(t *testing.T) {
	want := Header{Codec: 2, Negative: true, Compressed: true, Sealed: true, Cost: time.Millisecond,
		Epoch: 1 << 63, Birth: 5, Expires: 7, Validator: "v1", Tags: []string{"a", ""}}
	b := envelope(want, "payload")
	h, p, err := Open(b)
	if err != nil || !reflect.DeepEqual(h, want) || string(p) != "payload" {
		t.Fatalf("%+v %q %v", h, p, err)
	}
	value, _ := msgpack.Marshal(item{Name: "n"})
	plain := envelope(Header{Codec: 2}, "payload")
	if n := testing.AllocsPerRun(100, func() { Open(plain); validate(value) }); n != 0 {
		t.Fatalf("opening and validating allocates %v times", n)
	}
	for i := range b {
		if i >= tokenOffset && i < fixedOffset {
			continue // rewritten in place, and read only if there is a claim
		}
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		if _, _, err := Open(bad); err == nil {
			t.Fatalf("byte %d was changed and nobody noticed", i)
		}
	}
	for i := range len(b) {
		if _, _, err := Open(b[:i]); err == nil {
			t.Fatalf("cut off at %d and nobody noticed", i)
		}
	}
	other := bytes.Clone(b)
	other[2] = 9
	if _, _, err := Open(other); !errors.Is(err, ErrVersion) {
		t.Fatalf("another version: %v", err)
	}
	if _, _, err := Open([]byte("Ltoken")); !errors.Is(err, ErrForeign) {
		t.Fatalf("a lease: %v", err)
	}
}

// TestRewrittenInPlace: what scripts write into an envelope is read back, and
// nothing else is believed there.
func TestRewrittenInPlace(t *testing.T) {
	b := envelope(Header{Codec: 1, Expires: 7}, "payload")
	copy(b[stateOffset:], "XL0123456789abcdef0000000000042")
	want := Header{Codec: 1, Expires: 7, Expired: true, Claim: Claim{Loading, "0123456789abcdef", 42}}
	if h, _, err := Open(b); err != nil || !reflect.DeepEqual(h, want) {
		t.Fatalf("%+v, %v", h, err)
	}
	for _, bad := range []string{"?-", "F?", "FL0123456789abcdef00000000000x2", "FL0123456789abcdef            2"} {
		c := bytes.Clone(b)
		copy(c[stateOffset:], bad)
		if _, _, err := Open(c); !errors.Is(err, ErrForeign) {
			t.Errorf("%q: %v, want ErrForeign", bad, err)
		}
	}
}

// TestRewrite: a new header goes with the old payload.
func TestRewrite(t *testing.T) {
	b := envelope(Header{Codec: 1, Expires: 7, Validator: "v"}, "payload")
	copy(b[stateOffset:], "XL0123456789abcdef0000000000042")
	want := Header{Codec: 1, Expires: 99, Birth: 3, Validator: "v"}
	Rewrite(b[:HeaderSize], want)
	if h, p, err := Open(b); err != nil || !reflect.DeepEqual(h, want) || string(p) != "payload" {
		t.Fatalf("%+v, %q, %v", h, p, err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(envelope(Header{Codec: 1}, "payload"))
	f.Add([]byte("Ltoken"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, p, err := Open(data)
		if err != nil {
			return
		}
		again := envelope(h, string(p))
		if len(again) != len(data) {
			return // a length may be written in more bytes than it needs
		}
		if !bytes.Equal(again[:stateOffset], data[:stateOffset]) || !bytes.Equal(again[fixedOffset:], data[fixedOffset:]) {
			t.Fatal("opened something that was not sealed")
		}
	})
}

// FuzzValidate: what the validator lets through must decode without harm.
func FuzzValidate(f *testing.F) {
	b, _ := msgpack.Marshal(item{Name: "n", Tags: []string{"a"}, Sizes: map[string]int{"x": 1}})
	f.Add(b)
	f.Add([]byte("\xdd\x7f\xff\xff\xff"))
	f.Add([]byte("\x81\xa4Tags\xdd\x03\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Msgpack[item]().Decode(data)
		_, _ = Msgpack[any]().Decode(data)
	})
}
