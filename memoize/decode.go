package memoize

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// decode returns the argument that args is the encoding of. It runs when a value is
// loaded, and so may take its time.
func decode[A any](args string) (a A, err error) {
	d := decoder{rest: args}
	if d.value(reflect.ValueOf(&a).Elem()); d.err == nil && d.rest != "" {
		d.err = errors.New("more than one argument")
	}
	if d.err != nil {
		var zero A
		return zero, fmt.Errorf("%.64q is no argument of type %v: %w", args, reflect.TypeFor[A](), d.err)
	}
	return a, nil
}

// decoder reads what an encoder wrote. After an error it reads nothing.
type decoder struct {
	rest string
	err  error
}

func (d *decoder) value(v reflect.Value) {
	if d.err != nil {
		return
	}
	if v.Type() == timeType {
		sec, nsec := d.signed(64), d.signed(64)
		v.Set(reflect.ValueOf(time.Unix(sec, nsec).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		text := d.take(1)
		v.SetBool(text == "t")
		d.must(text == "t" || text == "f")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(d.signed(v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		n, err := strconv.ParseUint(d.until(","), 10, v.Type().Bits())
		v.SetUint(n)
		d.note(err)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(d.float(v.Type().Bits()))
	case reflect.Complex64, reflect.Complex128:
		re, im := d.float(v.Type().Bits()/2), d.float(v.Type().Bits()/2)
		v.SetComplex(complex(re, im))
	case reflect.String:
		v.SetString(d.take(d.count()))
	case reflect.Array:
		for i := range v.Len() {
			d.value(v.Index(i))
		}
	case reflect.Slice:
		d.slice(v)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i) // which may be unexported
			d.value(reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem())
		}
	}
}

func (d *decoder) slice(v reflect.Value) {
	if rest, isNil := strings.CutPrefix(d.rest, "-"); isNil {
		d.rest = rest
		return
	}
	n := d.count()
	if d.must(n <= len(d.rest) || v.Type().Elem().Size() == 0); d.err != nil {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := 0; i < n && d.err == nil; i++ {
		d.value(v.Index(i))
	}
}

func (d *decoder) signed(bits int) int64 {
	n, err := strconv.ParseInt(d.until(","), 10, bits)
	d.note(err)
	return n
}

func (d *decoder) float(bits int) float64 {
	f, err := strconv.ParseFloat(d.until(","), bits)
	d.note(err)
	return f
}

func (d *decoder) count() int {
	n, err := strconv.ParseUint(d.until(":"), 10, 31)
	d.note(err)
	return int(n)
}

// until returns what stands before the next end, and reads over both.
func (d *decoder) until(end string) string {
	text, rest, ok := strings.Cut(d.rest, end)
	d.must(ok)
	d.rest = rest
	return text
}

func (d *decoder) take(n int) string {
	if d.must(n <= len(d.rest)); d.err != nil {
		return ""
	}
	text := d.rest[:n]
	d.rest = d.rest[n:]
	return text
}

func (d *decoder) must(holds bool) {
	if !holds {
		d.note(errors.New("it ends too early"))
	}
}

func (d *decoder) note(err error) {
	if d.err == nil {
		d.err = err
	}
}
