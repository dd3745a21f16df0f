package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/ulikunitz/xz"
)

// demand says which products are wanted, and in what order.
type demand struct {
	ids   []string // most wanted first
	trace []int32  // indexes of ids, in the order of the requests; nil for a Zipf law
	next  atomic.Int64
}

// zipfExponent makes the first 20 % of 10,000 products attract about 89 % of the
// requests.
const zipfExponent = 1.1

// zipfDemand is a demand for products "1" to "n" where the k-th is wanted in
// proportion to k^-zipfExponent.
func zipfDemand(n int) *demand {
	d := &demand{ids: make([]string, n)}
	for i := range d.ids {
		d.ids[i] = strconv.Itoa(i + 1)
	}
	return d
}

// reader returns a source of indexes of ids. Every reader of a trace takes the next
// request of it, and after the last the first again.
func (d *demand) reader() func() int {
	if d.trace == nil {
		return d.sample()
	}
	return func() int { return int(d.trace[(d.next.Add(1)-1)%int64(len(d.trace))]) }
}

// sample returns a source of indexes of ids that has their popularity, but takes
// nothing from the trace.
func (d *demand) sample() func() int {
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	if d.trace != nil {
		return func() int { return int(d.trace[rng.IntN(len(d.trace))]) }
	}
	zipf := rand.NewZipf(rng, zipfExponent, 1, uint64(len(d.ids)-1))
	return func() int { return int(zipf.Uint64()) }
}

// maxTrace is the largest trace in bytes, unpacked; it is held in memory.
const maxTrace = 256 << 20

// traceDemand is the demand that a trace file records: one big-endian 32-bit product
// number a request, packed with xz if the file's name ends in .xz.
func traceDemand(path string) (*demand, error) {
	requests, err := readTrace(path)
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", path, err)
	}
	count := make(map[uint32]int)
	for _, id := range requests {
		count[id]++
	}
	if len(count) > maxProducts {
		return nil, fmt.Errorf("trace %s: it names %d products, at most %d can be had", path, len(count), maxProducts)
	}
	ranked := make([]uint32, 0, len(count))
	for id := range count {
		ranked = append(ranked, id)
	}
	slices.SortFunc(ranked, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})

	d := &demand{ids: make([]string, len(ranked)), trace: make([]int32, len(requests))}
	rank := make(map[uint32]int32, len(ranked))
	for i, id := range ranked {
		d.ids[i] = strconv.FormatUint(uint64(id), 10)
		rank[id] = int32(i)
	}
	for i, id := range requests {
		d.trace[i] = rank[id]
	}
	return d, nil
}

func readTrace(path string) ([]uint32, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	defer file.Close()
	var unpacked io.Reader = file
	if filepath.Ext(path) == ".xz" {
		if unpacked, err = xz.NewReader(file); err != nil {
			return nil, fmt.Errorf("not an xz file: %w", err)
		}
	}
	data, err := io.ReadAll(io.LimitReader(unpacked, maxTrace+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w", reason(err))
	case len(data) > maxTrace:
		return nil, fmt.Errorf("longer than %d bytes, which is all that is held in memory", maxTrace)
	case len(data) == 0:
		return nil, errors.New("empty")
	case len(data)%4 != 0:
		return nil, fmt.Errorf("its %d bytes are not a whole number of 32-bit product numbers", len(data))
	}
	requests := make([]uint32, len(data)/4)
	for i := range requests {
		requests[i] = binary.BigEndian.Uint32(data[4*i:])
	}
	return requests, nil
}

// reason is err without the path and operation that a file error repeats.
func reason(err error) error {
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		return failed.Err
	}
	return err
}
