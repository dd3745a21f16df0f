// Package s2 compresses values in Redis with S2, an extension of Snappy: fast at
// the price of a few per cent of size. It is a module of its own, so that those who
// do not compress do not depend on it.
package s2

import (
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/nearcache/nearcache/codec"
)

const id = 1

// Compressor is a [codec.Compressor] on S2 blocks. The zero value is ready.
type Compressor struct{}

var _ codec.Compressor = Compressor{}

// ID returns 1.
func (Compressor) ID() byte { return id }

// Compress appends the S2 block of src to dst.
func (Compressor) Compress(dst, src []byte) []byte {
	n, room := len(dst), s2.MaxEncodedLen(len(src))
	dst = slices.Grow(dst, room)
	return dst[:n+len(s2.Encode(dst[n:n+room], src))]
}

// Decompress appends what the S2 or Snappy block src says to dst. The error is
// [s2.ErrTooLarge] if that is more than limit bytes, of which none are allocated then,
// or another one of S2 for bytes that are no block.
func (Compressor) Decompress(dst, src []byte, limit int) ([]byte, error) {
	size, err := s2.DecodedLen(src)
	if err != nil {
		return dst, err
	}
	if size > limit {
		return dst, fmt.Errorf("%w: %d bytes, limit %d", s2.ErrTooLarge, size, limit)
	}
	n := len(dst)
	dst = slices.Grow(dst, size)
	out, err := s2.Decode(dst[n:n+size], src)
	return dst[:n+len(out)], err
}
