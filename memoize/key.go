package memoize

import (
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unsafe"
)

// encoder appends the argument at p. What it appends ends by itself, so that what
// follows cannot change what it means:
//
//	booleans          t or f
//	numbers           42,  -1.5,  NaN,  and two of them for complex ones
//	strings           5:hello
//	times             seconds and nanoseconds since 1970, as numbers
//	slices            -  if nil, else 2: and the elements
//	arrays, structs   their elements and fields
//
// It is made of closures on pointers, once for each type, since reflection would
// allocate in every call.
type encoder func(dst []byte, p unsafe.Pointer) []byte

// compile returns the encoder of arguments of type A, and a hash of what A looks like.
func compile[A any]() (encoder, uint32, error) {
	var c compiler
	encode, err := c.compile(reflect.TypeFor[A](), "")
	shape := fnv.New32a()
	_, _ = shape.Write(c.shape)
	return encode, shape.Sum32(), err
}

type compiler struct {
	shape []byte
	above []reflect.Type // that the current one is part of
}

// typeError says what cannot be part of an argument.
type typeError struct {
	path, why string
	typ       reflect.Type
}

func (e *typeError) Error() string {
	if e.path == "" {
		e.path = "itself"
	}
	return fmt.Sprintf("the argument's part %s is of type %v, %s: must be booleans, numbers, strings, times, "+
		"and structs, arrays and slices of them", e.path, e.typ, e.why)
}

var timeType = reflect.TypeFor[time.Time]()

func (c *compiler) compile(t reflect.Type, path string) (encoder, error) {
	if slices.Contains(c.above, t) {
		return nil, &typeError{path, "which contains itself", t}
	}
	c.above = append(c.above, t)
	defer func() { c.above = c.above[:len(c.above)-1] }()
	if t == timeType {
		c.shape = append(c.shape, "time;"...)
		return func(dst []byte, p unsafe.Pointer) []byte {
			at := (*time.Time)(p)
			dst = append(strconv.AppendInt(dst, at.Unix(), 10), ',')
			return append(strconv.AppendInt(dst, int64(at.Nanosecond()), 10), ',')
		}, nil
	}
	c.shape = fmt.Appendf(c.shape, "%v;", t.Kind())
	switch t.Kind() {
	case reflect.Struct:
		return c.fields(t, path)
	case reflect.Array:
		return c.array(t, path)
	case reflect.Slice:
		return c.slice(t, path)
	case reflect.Map, reflect.Pointer, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return nil, &typeError{path, "a " + t.Kind().String(), t}
	}
	return scalars[t.Kind()], nil
}

var scalars = map[reflect.Kind]encoder{
	reflect.Bool: func(dst []byte, p unsafe.Pointer) []byte {
		if *(*bool)(p) {
			return append(dst, 't')
		}
		return append(dst, 'f')
	},
	reflect.Int:        signed[int],
	reflect.Int8:       signed[int8],
	reflect.Int16:      signed[int16],
	reflect.Int32:      signed[int32],
	reflect.Int64:      signed[int64],
	reflect.Uint:       unsigned[uint],
	reflect.Uint8:      unsigned[uint8],
	reflect.Uint16:     unsigned[uint16],
	reflect.Uint32:     unsigned[uint32],
	reflect.Uint64:     unsigned[uint64],
	reflect.Uintptr:    unsigned[uintptr],
	reflect.Float32:    func(dst []byte, p unsafe.Pointer) []byte { return float(dst, float64(*(*float32)(p)), 32) },
	reflect.Float64:    func(dst []byte, p unsafe.Pointer) []byte { return float(dst, *(*float64)(p), 64) },
	reflect.Complex64:  func(dst []byte, p unsafe.Pointer) []byte { return complexes(dst, complex128(*(*complex64)(p)), 32) },
	reflect.Complex128: func(dst []byte, p unsafe.Pointer) []byte { return complexes(dst, *(*complex128)(p), 64) },
	reflect.String: func(dst []byte, p unsafe.Pointer) []byte {
		s := *(*string)(p)
		return append(append(strconv.AppendInt(dst, int64(len(s)), 10), ':'), s...)
	},
}

func signed[T int | int8 | int16 | int32 | int64](dst []byte, p unsafe.Pointer) []byte {
	return append(strconv.AppendInt(dst, int64(*(*T)(p)), 10), ',')
}

func unsigned[T uint | uint8 | uint16 | uint32 | uint64 | uintptr](dst []byte, p unsafe.Pointer) []byte {
	return append(strconv.AppendUint(dst, uint64(*(*T)(p)), 10), ',')
}

// float appends the shortest text that stands for f and no other number, one for all
// NaNs, and one for both zeros, which are equal.
func float(dst []byte, f float64, bits int) []byte {
	if f == 0 {
		f = 0
	}
	return append(strconv.AppendFloat(dst, f, 'g', -1, bits), ',')
}

func complexes(dst []byte, c complex128, bits int) []byte {
	return float(float(dst, real(c), bits), imag(c), bits)
}

func (c *compiler) fields(t reflect.Type, path string) (encoder, error) {
	type field struct {
		offset uintptr
		encode encoder
	}
	fields := make([]field, t.NumField())
	for i := range fields {
		f := t.Field(i)
		at := path + "." + f.Name
		if f.Name == "_" {
			return nil, &typeError{at, "which nobody can read", f.Type}
		}
		c.shape = append(append(c.shape, f.Name...), ' ')
		encode, err := c.compile(f.Type, at)
		if err != nil {
			return nil, err
		}
		fields[i] = field{f.Offset, encode}
	}
	c.shape = append(c.shape, '}')
	return func(dst []byte, p unsafe.Pointer) []byte {
		for i := range fields {
			dst = fields[i].encode(dst, unsafe.Add(p, fields[i].offset))
		}
		return dst
	}, nil
}

func (c *compiler) array(t reflect.Type, path string) (encoder, error) {
	n, size := t.Len(), t.Elem().Size()
	c.shape = fmt.Appendf(c.shape, "%d ", n)
	encode, err := c.compile(t.Elem(), path+"[]")
	return func(dst []byte, p unsafe.Pointer) []byte {
		for i := range n {
			dst = encode(dst, unsafe.Add(p, uintptr(i)*size))
		}
		return dst
	}, err
}

func (c *compiler) slice(t reflect.Type, path string) (encoder, error) {
	size := t.Elem().Size()
	encode, err := c.compile(t.Elem(), path+"[]")
	return func(dst []byte, p unsafe.Pointer) []byte {
		s := *(*[]struct{})(p) // all slices look alike
		if s == nil {
			return append(dst, '-')
		}
		dst = append(strconv.AppendInt(dst, int64(len(s)), 10), ':')
		for i := range s {
			dst = encode(dst, unsafe.Add(unsafe.Pointer(unsafe.SliceData(s)), uintptr(i)*size))
		}
		return dst
	}, err
}
