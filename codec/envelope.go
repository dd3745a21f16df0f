package codec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Header is what an envelope says of the value in it.
type Header struct {
	Codec    byte
	Negative bool   // known not to exist; the payload is empty
	Epoch    uint64 // the shard's epoch that Birth belongs to
	Birth    uint64 // sequence number at which the load or write began
	Expires  int64  // end of its life in milliseconds of the server's clock; 0: none
}

// The envelope, big endian: magic (2 bytes), format version, codec, flags,
// three zero bytes, epoch (8), birth (8), expires (8), xxhash64 of everything else (8),
// payload. The first byte of the magic never begins msgpack, JSON or text.
const (
	magic      = 0xC14E
	format     = 1
	negative   = 1 << 0
	sumOffset  = 32
	headerSize = 40
)

// Why an envelope was not opened. Callers count these and load anew.
var (
	ErrForeign  = errors.New("not an envelope")
	ErrVersion  = errors.New("envelope of another format version")
	ErrChecksum = errors.New("envelope is corrupt")
)

// Begin appends room for a header to dst; the payload is appended after it and
// [Finish] fills in the header, so nothing is copied.
func Begin(dst []byte) []byte { return append(dst, make([]byte, headerSize)...) }

// Finish writes the header of the envelope that begins at buf[0].
func Finish(buf []byte, h Header) {
	var flags byte
	if h.Negative {
		flags = negative
	}
	binary.BigEndian.PutUint16(buf, magic)
	copy(buf[2:8], []byte{format, h.Codec, flags, 0, 0, 0})
	binary.BigEndian.PutUint64(buf[8:], h.Epoch)
	binary.BigEndian.PutUint64(buf[16:], h.Birth)
	binary.BigEndian.PutUint64(buf[24:], uint64(h.Expires))
	binary.BigEndian.PutUint64(buf[sumOffset:], checksum(buf))
}

// Open checks an envelope and returns its header and its payload, which is a
// part of data.
func Open(data []byte) (Header, []byte, error) {
	if len(data) < headerSize || binary.BigEndian.Uint16(data) != magic {
		return Header{}, nil, ErrForeign
	}
	if data[2] != format || data[4]&^negative != 0 {
		return Header{}, nil, fmt.Errorf("%w: version %d, flags %#x; known are %d and %#x",
			ErrVersion, data[2], data[4], format, negative)
	}
	if binary.BigEndian.Uint64(data[sumOffset:]) != checksum(data) {
		return Header{}, nil, ErrChecksum
	}
	return Header{
		Codec:    data[3],
		Negative: data[4]&negative != 0,
		Epoch:    binary.BigEndian.Uint64(data[8:]),
		Birth:    binary.BigEndian.Uint64(data[16:]),
		Expires:  int64(binary.BigEndian.Uint64(data[24:])),
	}, data[headerSize:], nil
}

// checksum covers the payload by its hash and the header by being mixed in, so
// that one pass over the payload is enough.
func checksum(data []byte) uint64 {
	var b [sumOffset + 8]byte
	copy(b[:], data[:sumOffset])
	binary.BigEndian.PutUint64(b[sumOffset:], xxhash.Sum64(data[headerSize:]))
	return xxhash.Sum64(b[:])
}
