// Package access has sequences of keys: synthetic ones, and traces of real
// accesses.
package access

import (
	"math/rand/v2"
)

// Trace is a sequence of accesses. Keys are numbers from 0 on.
type Trace struct {
	Name     string
	Accesses []int32
	Distinct int // keys
}

// number gives the keys of a trace numbers in the order of their first access.
func number[K comparable](name string, keys []K) Trace {
	t := Trace{Name: name, Accesses: make([]int32, len(keys))}
	numbers := make(map[K]int32)
	for i, key := range keys {
		n, known := numbers[key]
		if !known {
			n = int32(len(numbers))
			numbers[key] = n
		}
		t.Accesses[i] = n
	}
	t.Distinct = len(numbers)
	return t
}

// Zipf asks for the k-th of keys in proportion to k^-exponent.
func Zipf(name string, exponent float64, keys, length int) Trace {
	zipf := rand.NewZipf(random(), exponent, 1, uint64(keys-1))
	return generate(name, length, func(int) uint64 { return zipf.Uint64() })
}

// Loop asks for keys one after the other, again and again: the worst case of
// recency.
func Loop(name string, keys, length int) Trace {
	return generate(name, length, func(i int) uint64 { return uint64(i % keys) })
}

// Shifting asks by a Zipf law for one set of keys, and after every so many accesses
// for another, so that what was frequent is worth nothing any more.
func Shifting(name string, exponent float64, keys, every, length int) Trace {
	zipf := rand.NewZipf(random(), exponent, 1, uint64(keys-1))
	return generate(name, length, func(i int) uint64 { return uint64(i/every*keys) + zipf.Uint64() })
}

// random is seeded: a trace is the same in every run.
func random() *rand.Rand { return rand.New(rand.NewPCG(3, 4)) }

func generate(name string, length int, key func(i int) uint64) Trace {
	keys := make([]uint64, length)
	for i := range keys {
		keys[i] = key(i)
	}
	return number(name, keys)
}
