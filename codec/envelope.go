package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Header is what an envelope says of the value in it.
type Header struct {
	Codec      byte
	Negative   bool          // known not to exist; there is no payload, or a sealed one of no bytes
	Compressed bool          // the payload is what a Compressor made of it
	Sealed     bool          // the payload is what a Seal made of it, after the Compressor
	Cost       time.Duration // that the load took, in whole microseconds, an hour at most
	Epoch      uint64        // the shard's epoch that Birth belongs to
	Birth      uint64        // sequence number at which the load or write began
	Expires    int64         // end of its life in milliseconds of the server's clock
	Validator  string        // by which the source tells whether the value is still current
	Tags       []string      // whose invalidation takes the value away

	// These are rewritten in place, by scripts; Finish writes the zero values.
	Expired bool // before its time
	Claim   Claim
}

// Claim is a lease on the refreshing of a value that stays where it is. The zero
// Claim is none.
type Claim struct {
	Kind  ClaimKind
	Token string // that it was taken with: 16 bytes
	Until int64  // its end in milliseconds of the server's clock
}

// ClaimKind says what the holder of a claim does.
type ClaimKind byte

const (
	NoClaim   ClaimKind = 0
	Loading   ClaimKind = 'L'
	AwaitedBy ClaimKind = 'W' // loading, and somebody waits for it
	BackOff   ClaimKind = 'B' // its load failed: nobody is to try until its end
)

// The envelope, numbers big endian. What scripts rewrite is text of fixed width,
// which Lua can compare and redis-cli shows; it is covered by no checksum, and a
// reader that finds anything unexpected there takes it for foreign.
//
//	 0  magic (2), format version (1)
//	 3  'F', or 'X' once expired before its time
//	 4  claim: kind or '-', token (16), end in decimal milliseconds (13)
//	34  codec (1), flags (1), length of the labels (2), cost in µs (4)
//	42  epoch (8), birth (8), expires (8)
//	66  xxhash64 of labels and payload (8), xxhash64 of all above it but the text (8)
//	82  labels: the validator, then the tags, each after its length (uvarint); or none
//	 -  payload
//
// The first byte of the magic never begins msgpack, JSON or text. The header has
// a checksum of its own, so that it can be renewed without the payload.
const (
	magic       = 0xC14E
	format      = 1
	negative    = 1 << 0
	compressed  = 1 << 1
	sealed      = 1 << 2
	flags       = negative | compressed | sealed
	stateOffset = 3
	claimOffset = 4
	tokenOffset = 5
	untilOffset = 21
	fixedOffset = 34
	bodySum     = 66
	headSum     = 74
	HeaderSize  = 82 // bytes of a header without the validator
	noClaim     = "-00000000000000000000000000000"
)

// What labels may be; together they fit into the 64 KiB that their length can say.
const (
	MaxValidator = 1024 // bytes
	MaxTags      = 64
	MaxTag       = 512 // bytes
)

// Why an envelope was not opened. Callers count these and load anew.
var (
	ErrForeign  = errors.New("not an envelope")
	ErrVersion  = errors.New("envelope of another format version")
	ErrChecksum = errors.New("envelope is corrupt")
)

// Begin appends room for a header, and the labels, to dst; the payload is appended
// after them and [Finish] fills in the header, so nothing is copied.
func Begin(dst []byte, validator string, tags []string) []byte {
	dst = append(dst, make([]byte, HeaderSize)...)
	if validator == "" && len(tags) == 0 {
		return dst
	}
	dst = label(dst, validator)
	for _, tag := range tags {
		dst = label(dst, tag)
	}
	return dst
}

func label(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// labels reads what Begin wrote.
func (h *Header) labels(data []byte) bool {
	for first := true; len(data) > 0; first = false {
		n, width := binary.Uvarint(data)
		if width <= 0 || n > uint64(len(data)-width) {
			return false
		}
		text := string(data[width : width+int(n)])
		data = data[width+int(n):]
		if first {
			h.Validator = text
		} else {
			h.Tags = append(h.Tags, text)
		}
	}
	return true
}

// Finish writes the header of the envelope that begins at buf[0], with the labels
// that Begin was given.
func Finish(buf []byte, h Header) {
	binary.BigEndian.PutUint64(buf[bodySum:], xxhash.Sum64(buf[HeaderSize:]))
	Rewrite(buf, h)
}

// Rewrite writes another header over that of a finished envelope, which keeps its labels
// and payload: h must have the labels too. buf may be the header alone.
func Rewrite(buf []byte, h Header) {
	binary.BigEndian.PutUint16(buf, magic)
	buf[2] = format
	buf[stateOffset] = 'F'
	copy(buf[claimOffset:], noClaim)
	buf[34], buf[35] = h.Codec, 0
	if h.Negative {
		buf[35] |= negative
	}
	if h.Compressed {
		buf[35] |= compressed
	}
	if h.Sealed {
		buf[35] |= sealed
	}
	binary.BigEndian.PutUint16(buf[36:], uint16(h.labelBytes()))
	binary.BigEndian.PutUint32(buf[38:], uint32(min(h.Cost, time.Hour).Microseconds()))
	binary.BigEndian.PutUint64(buf[42:], h.Epoch)
	binary.BigEndian.PutUint64(buf[50:], h.Birth)
	binary.BigEndian.PutUint64(buf[58:], uint64(h.Expires))
	binary.BigEndian.PutUint64(buf[headSum:], sumOfHead(buf))
}

// labelBytes is the length of what Begin appends after the header.
func (h *Header) labelBytes() (n int) {
	if h.Validator == "" && len(h.Tags) == 0 {
		return 0
	}
	var width [binary.MaxVarintLen64]byte
	n = binary.PutUvarint(width[:], uint64(len(h.Validator))) + len(h.Validator)
	for _, tag := range h.Tags {
		n += binary.PutUvarint(width[:], uint64(len(tag))) + len(tag)
	}
	return n
}

// sumOfHead covers the payload by its checksum, and not what scripts rewrite.
func sumOfHead(buf []byte) uint64 {
	var b [3 + headSum - fixedOffset]byte
	copy(b[:], buf[:3])
	copy(b[3:], buf[fixedOffset:headSum])
	return xxhash.Sum64(b[:])
}

// Open checks an envelope and returns its header and its payload, which is a
// part of data.
func Open(data []byte) (h Header, payload []byte, err error) {
	if len(data) < HeaderSize || binary.BigEndian.Uint16(data) != magic {
		return Header{}, nil, ErrForeign
	}
	if data[2] != format || data[35]&^flags != 0 {
		return Header{}, nil, fmt.Errorf("%w: version %d, flags %#x; known are %d and %#x",
			ErrVersion, data[2], data[35], format, flags)
	}
	body := data[HeaderSize:]
	labels := int(binary.BigEndian.Uint16(data[36:]))
	if binary.BigEndian.Uint64(data[headSum:]) != sumOfHead(data) || labels > len(body) ||
		binary.BigEndian.Uint64(data[bodySum:]) != xxhash.Sum64(body) {
		return Header{}, nil, ErrChecksum
	}
	h = Header{
		Codec:      data[34],
		Negative:   data[35]&negative != 0,
		Compressed: data[35]&compressed != 0,
		Sealed:     data[35]&sealed != 0,
		Cost:       time.Duration(binary.BigEndian.Uint32(data[38:])) * time.Microsecond,
		Epoch:      binary.BigEndian.Uint64(data[42:]),
		Birth:      binary.BigEndian.Uint64(data[50:]),
		Expires:    int64(binary.BigEndian.Uint64(data[58:])),
	}
	if !h.labels(body[:labels]) {
		return Header{}, nil, fmt.Errorf("%w: labels", ErrForeign)
	}
	if h.Expired, h.Claim, err = rewritten(data); err != nil {
		return Header{}, nil, err
	}
	return h, body[labels:], nil
}

// rewritten reads what scripts rewrite in place.
func rewritten(data []byte) (expired bool, c Claim, err error) {
	state, kind := data[stateOffset], data[claimOffset]
	if state != 'F' && state != 'X' {
		return false, Claim{}, fmt.Errorf("%w: state %q", ErrForeign, state)
	}
	expired = state == 'X'
	switch ClaimKind(kind) {
	case '-':
		return expired, Claim{}, nil
	case Loading, AwaitedBy, BackOff:
	default:
		return false, Claim{}, fmt.Errorf("%w: claim %q", ErrForeign, kind)
	}
	until, err := strconv.ParseUint(string(data[untilOffset:fixedOffset]), 10, 63)
	if err != nil {
		return false, Claim{}, fmt.Errorf("%w: end of a claim: %w", ErrForeign, err)
	}
	return expired, Claim{ClaimKind(kind), string(data[tokenOffset:untilOffset]), int64(until)}, nil
}
