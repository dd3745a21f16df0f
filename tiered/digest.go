package tiered

import (
	"encoding/binary"
	"math"
	"reflect"
	"time"

	"github.com/cespare/xxhash/v2"
)

// maxNodes bounds the work of one digest, and its recursion.
const maxNodes = 100_000

// digestOf returns a hash of *v and all that it points to, which is the same as long
// as nobody changes any of it. ok is false if that is more than maxNodes nodes.
//
// It goes by structure and not by the codec's bytes, which may differ from one
// encoding to the next: maps have no order. Of a struct it takes the exported fields,
// which are what codecs see, if there are any: others often hold what methods compute
// when they are first called. A value that cannot be read is not the value that it
// was.
func digestOf[V any](v *V) (sum uint64, ok bool) {
	defer func() {
		if recover() != nil { // changed under our eyes
			sum, ok = 0, false
		}
	}()
	d := digester{left: maxNodes, path: make(map[node]uint64)}
	h := xxhash.New()
	d.add(h, reflect.ValueOf(v).Elem())
	return h.Sum64(), d.left >= 0
}

type digester struct {
	left int
	path map[node]uint64 // pointers on the way here, by their depth
}

type node struct {
	at  uintptr
	typ reflect.Type
	n   int // of slices, which may begin where others do
}

func (d *digester) add(h *xxhash.Digest, v reflect.Value) {
	if d.left--; d.left < 0 {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		number(h, map[bool]uint64{true: 1}[v.Bool()])
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		number(h, uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		number(h, v.Uint())
	case reflect.Float32, reflect.Float64:
		number(h, math.Float64bits(v.Float()))
	case reflect.Complex64, reflect.Complex128:
		number(h, math.Float64bits(real(v.Complex())))
		number(h, math.Float64bits(imag(v.Complex())))
	case reflect.String:
		number(h, uint64(v.Len()))
		_, _ = h.WriteString(v.String())
	case reflect.Chan, reflect.Func, reflect.UnsafePointer:
		number(h, uint64(v.Pointer()))
	case reflect.Struct:
		d.fields(h, v)
	case reflect.Array:
		d.elements(h, v)
	case reflect.Interface:
		if number(h, present(v)); !v.IsNil() {
			_, _ = h.WriteString(v.Elem().Type().String())
			d.add(h, v.Elem())
		}
	default:
		d.reference(h, v)
	}
}

// reference adds what lies behind a pointer, slice or map. One that is met again on the
// way to itself is told by how deep it was met first.
func (d *digester) reference(h *xxhash.Digest, v reflect.Value) {
	number(h, present(v))
	if v.IsNil() || v.Type() == reflect.TypeFor[*time.Location]() { // which time fills in when it needs it
		return
	}
	at := node{at: v.Pointer(), typ: v.Type()}
	if v.Kind() != reflect.Pointer {
		at.n = v.Len()
		number(h, uint64(at.n))
	}
	if depth, again := d.path[at]; again {
		number(h, depth)
		return
	}
	d.path[at] = uint64(len(d.path))
	defer delete(d.path, at)
	switch v.Kind() {
	case reflect.Pointer:
		d.add(h, v.Elem())
	case reflect.Slice:
		d.elements(h, v)
	default:
		d.entries(h, v)
	}
}

func (d *digester) elements(h *xxhash.Digest, v reflect.Value) {
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		_, _ = h.Write(v.Bytes())
		return
	}
	for i := 0; i < v.Len() && d.left >= 0; i++ {
		d.add(h, v.Index(i))
	}
}

// entries adds those of a map in any order.
func (d *digester) entries(h *xxhash.Digest, v reflect.Value) {
	var sum uint64
	for it := v.MapRange(); it.Next() && d.left >= 0; {
		entry := xxhash.New()
		d.add(entry, it.Key())
		d.add(entry, it.Value())
		sum += entry.Sum64()
	}
	number(h, sum)
}

func (d *digester) fields(h *xxhash.Digest, v reflect.Value) {
	t := v.Type()
	if p := t.PkgPath(); p == "sync" || p == "sync/atomic" {
		return // made to be changed
	}
	exported := false
	for i := range t.NumField() {
		exported = exported || t.Field(i).IsExported()
	}
	for i := range t.NumField() {
		if f := t.Field(i); !exported || f.IsExported() || f.Anonymous {
			d.add(h, v.Field(i))
		}
	}
}

func present(v reflect.Value) uint64 {
	if v.IsNil() {
		return 0
	}
	return 1
}

func number(h *xxhash.Digest, n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	_, _ = h.Write(b[:])
}
