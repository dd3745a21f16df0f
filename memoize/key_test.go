package memoize

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"
	"unsafe"
)

// keyOf returns the key of an argument, with what stands for its type.
func keyOf[A any](t testing.TB, a A) string {
	t.Helper()
	encode, shape, err := compile[A]()
	if err != nil {
		t.Fatal(err)
	}
	return string(encode([]byte{byte(shape), byte(shape >> 8), byte(shape >> 16), byte(shape >> 24), ':'}, unsafe.Pointer(&a)))
}

type pair struct{ A, B string }
type words struct{ A, B []string }
type swapped struct{ B, A string }
type named string
type hidden struct {
	a []int
	b struct{ c [2]string }
	pair
}

// TestDifferentArguments: no two of these have the same key.
func TestDifferentArguments(t *testing.T) {
	seen := map[string]int{}
	for i, key := range []string{
		keyOf(t, 1), keyOf(t, "1"), keyOf(t, int64(1)), keyOf(t, uint(1)), keyOf(t, 1.0), keyOf(t, float32(1)), keyOf(t, true),
		keyOf(t, false), keyOf(t, 1i), keyOf(t, [1]int{1}), keyOf(t, struct{}{}), keyOf(t, -1), keyOf(t, 11), keyOf(t, ""), keyOf(t, "1,"),
		keyOf(t, pair{"a b", "c"}), keyOf(t, pair{"a", "b c"}), keyOf(t, pair{"", "abc"}), keyOf(t, pair{"abc", ""}),
		keyOf(t, pair{"1:a", ""}), keyOf(t, pair{"", "1:a"}), keyOf(t, pair{"a0:", ""}), keyOf(t, swapped{"abc", ""}),
		keyOf(t, []string(nil)), keyOf(t, []string{}), keyOf(t, []string{""}), keyOf(t, []string{"", ""}), keyOf(t, []string{"-"}),
		keyOf(t, [][]string{nil}), keyOf(t, [][]string{{}}), keyOf(t, [][]string{{}, {}}), keyOf(t, [][]string{{""}}),
		keyOf(t, words{[]string{"a"}, nil}), keyOf(t, words{nil, []string{"a"}}), keyOf(t, words{[]string{"a"}, []string{}}),
		keyOf(t, words{[]string{"a", "b"}, []string{}}), keyOf(t, words{[]string{"a"}, []string{"b"}}),
		keyOf(t, []byte("ab")), keyOf(t, []byte("a")), keyOf(t, "ab"), keyOf(t, [2]byte{'a', 'b'}),
		keyOf(t, math.NaN()), keyOf(t, 0.0), keyOf(t, math.Inf(1)), keyOf(t, math.Inf(-1)), keyOf(t, math.SmallestNonzeroFloat64),
		keyOf(t, math.Nextafter(1, 2)), keyOf(t, complex(0, 1)+1), keyOf(t, complex64(1i)),
		keyOf(t, time.Unix(1, 0)), keyOf(t, time.Unix(1, 1)), keyOf(t, time.Unix(11, 0)), keyOf(t, time.Time{}),
		keyOf(t, time.Second), keyOf(t, struct{ X int }{1}), keyOf(t, struct{ Y int }{1}), keyOf(t, struct{ X []int }{nil}),
		keyOf(t, []struct{}{}), keyOf(t, []struct{}{{}}), keyOf(t, []struct{}{{}, {}}),
		keyOf(t, struct{ X struct{ Y, Z int } }{}), keyOf(t, struct {
			X struct{ Y int }
			Z int
		}{}),
	} {
		if other, again := seen[key]; again {
			t.Errorf("arguments %d and %d have the key %q", other, i, key)
		}
		seen[key] = i
	}
}

// TestEqualArguments: what is the same has one key, also if it looks different.
func TestEqualArguments(t *testing.T) {
	now := time.Now()
	negative, other := math.Copysign(0, -1), math.Float64frombits(math.Float64bits(math.NaN())|1)
	for name, keys := range map[string][2]string{
		"zeros":        {keyOf(t, 0.0), keyOf(t, negative)},
		"small zeros":  {keyOf(t, float32(0)), keyOf(t, float32(negative))},
		"NaN":          {keyOf(t, math.NaN()), keyOf(t, other)},
		"complex zero": {keyOf(t, complex(0, 0)), keyOf(t, complex(negative, negative))},
		"times":        {keyOf(t, now), keyOf(t, now.Round(0).In(time.FixedZone("", 3600)))},
		"named types":  {keyOf(t, "a"), keyOf(t, named("a"))},
		"capacity":     {keyOf(t, []int{1}), keyOf(t, append(make([]int, 0, 10), 1))},
	} {
		if keys[0] != keys[1] {
			t.Errorf("%s: %q and %q", name, keys[0], keys[1])
		}
	}
}

// TestKeysAreReadable: they are part of what other programs may rely on.
func TestKeysAreReadable(t *testing.T) {
	a := struct {
		User  string
		Limit int
		Tags  []string
		Deep  bool
		Rate  float64
		Since time.Time
	}{"Zoë", -10, []string{"a", ""}, true, 0.1, time.Unix(1_700_000_000, 5)}
	if got, want := keyOf(t, a)[5:], "4:Zoë-10,2:1:a0:t0.1,1700000000,5,"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestUnsupportedTypes(t *testing.T) {
	type tree struct {
		Name string
		Kids []tree
	}
	refused := func(_ encoder, _ uint32, err error) string {
		if err == nil {
			return "no error"
		}
		return err.Error()
	}
	for _, c := range []struct{ got, want string }{
		{refused(compile[map[string]int]()), "part itself is of type map[string]int, a map"},
		{refused(compile[*int]()), "part itself is of type *int, a ptr"},
		{refused(compile[any]()), "part itself is of type interface {}, a interface"},
		{refused(compile[func()]()), "a func"},
		{refused(compile[struct{ A struct{ B []map[int]int } }]()), "part .A.B[] is of type map[int]int, a map"},
		{refused(compile[struct{ C [3]chan int }]()), "part .C[] is of type chan int, a chan"},
		{refused(compile[struct{ E error }]()), "part .E is of type error, a interface"},
		{refused(compile[tree]()), "part .Kids[] is of type memoize.tree, which contains itself"},
		{refused(compile[struct{ _ int }]()), "part ._ is of type int, which nobody can read"},
		{refused(compile[struct{ P unsafe.Pointer }]()), "part .P is of type unsafe.Pointer"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// everything is an argument of all that there is.
type everything struct {
	Bool bool
	I    int
	I8   int8
	I16  int16
	I32  int32
	I64  int64
	U    uint
	U8   uint8
	U16  uint16
	U32  uint32
	U64  uint64
	Ptr  uintptr
	F32  float32
	F64  float64
	C64  complex64
	C128 complex128
	S    string
	Text named
	Bs   []byte
	Ss   []string
	Arr  [3]int16
	Deep []struct {
		P  pair
		Is [][]int
	}
	Took time.Duration
}

// TestRebuilt: an argument comes out of its key as it went in, and has that key again.
func TestRebuilt(t *testing.T) {
	rebuilt := func(a everything) bool {
		key := keyOf(t, a)
		again, err := decode[everything](key[5:])
		if err != nil || !reflect.DeepEqual(a, again) || keyOf(t, again) != key {
			t.Logf("%+v came back as %+v, %v", a, again, err)
			return false
		}
		return true
	}
	if err := quick.Check(rebuilt, &quick.Config{MaxCount: 500}); err != nil {
		t.Error(err)
	}
	h := hidden{[]int{}, struct{ c [2]string }{[2]string{"x", ""}}, pair{"a", "b"}}
	if again, err := decode[hidden](keyOf(t, h)[5:]); err != nil || !reflect.DeepEqual(h, again) {
		t.Errorf("%+v came back as %+v, %v", h, again, err)
	}
	at := struct{ T, Zero time.Time }{T: time.Now()}
	again, err := decode[struct{ T, Zero time.Time }](keyOf(t, at)[5:])
	if err != nil || !again.T.Equal(at.T) || again.T.Location() != time.UTC || again.Zero != (time.Time{}) {
		t.Errorf("%+v came back as %+v, %v", at, again, err)
	}
	if got, err := decode[[]struct{}](keyOf(t, make([]struct{}, 7))[5:]); err != nil || len(got) != 7 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestPairsOfArguments: keys are equal if and only if arguments are.
func TestPairsOfArguments(t *testing.T) {
	type small struct { // few values, so that many pairs are equal
		A, B []string
		C    string
		D    [2]int8
	}
	pick := func(n byte) small {
		texts := []string{"", "a", "1:a", "-"}
		lists := [][]string{nil, {}, {""}, {"a"}, {"", ""}, {"a", "-"}, {"1:a"}, {"0:"}}
		return small{lists[n&7], lists[n>>3&7], texts[n>>6], [2]int8{int8(n & 1), 0}}
	}
	for i := range 256 {
		for j := range 256 {
			a, b := pick(byte(i)), pick(byte(j))
			if same := reflect.DeepEqual(a, b); same != (keyOf(t, a) == keyOf(t, b)) {
				t.Fatalf("%+v and %+v: equal %v, keys %q and %q", a, b, same, keyOf(t, a), keyOf(t, b))
			}
		}
	}
}

// FuzzKeys: two arguments have the same key if and only if they are equal.
func FuzzKeys(f *testing.F) {
	f.Add("a b", "c", []byte("x"), 1, 0.5, "a", "b c", []byte("x"), 1, 0.5)
	f.Add("1:", "", []byte{}, 0, 0.0, "", "1:", []byte{}, 0, math.Copysign(0, -1))
	f.Add("", "", []byte("-"), -1, math.NaN(), "", "", []byte("-"), -1, math.NaN())
	type args struct {
		S, T string
		B    []byte
		L    []string
		N    int
		F    float64
	}
	f.Fuzz(func(t *testing.T, s1, t1 string, b1 []byte, n1 int, f1 float64, s2, t2 string, b2 []byte, n2 int, f2 float64) {
		a := args{s1, t1, b1, strings.Split(s1, ","), n1, f1}
		b := args{s2, t2, b2, strings.Split(s2, ","), n2, f2}
		same := s1 == s2 && t1 == t2 && bytes.Equal(b1, b2) && (b1 == nil) == (b2 == nil) && n1 == n2 && (f1 == f2 || f1 != f1 && f2 != f2)
		if k1, k2 := keyOf(t, a), keyOf(t, b); same != (k1 == k2) {
			t.Fatalf("equal %v: %q, %q", same, k1, k2)
		}
	})
}

// FuzzDecode: whatever a key says, it is an argument that has this key, or an error.
func FuzzDecode(f *testing.F) {
	f.Add("1:a1:b")
	f.Add("2:1:a0:2:0:-")
	f.Add("999999999:")
	f.Add("-2147483648:")
	f.Fuzz(func(t *testing.T, args string) {
		_, _ = decode[everything](args)
		if a, err := decode[words](args); err == nil {
			if again, err := decode[words](keyOf(t, a)[5:]); err != nil || !reflect.DeepEqual(a, again) {
				t.Fatalf("%+v, %+v, %v", a, again, err)
			}
		}
	})
}
