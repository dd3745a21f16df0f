package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// Key is a secret that values in Redis are sealed with.
type Key struct {
	ID     byte   // stored before every value, so that keys can be rotated
	Secret []byte // 32 random bytes
}

// Seal encrypts and authenticates values in Redis, so that whoever can read there
// learns nothing of them, and whoever can write there cannot have an instance answer
// a value that no instance wrote. It is safe for concurrent use.
//
// A value is bound to its cache's name, its key, tags and validator and to the codec,
// and so is "not found": none can be moved from one key to another. What is left to
// those who write to Redis: to take values away, and to put back an older one of the
// same key. Keys, tags, validators, lives and sizes are not secret. Where values are
// compressed, their sizes tell something of what is in them.
type Seal struct {
	current byte
	ciphers map[byte]*xaes
}

// ErrSeal says that bytes were not sealed by one of the keys for this purpose.
var ErrSeal = errors.New("sealed by none of the keys for this, or changed since")

// NewSeal returns a Seal that seals with the first key and opens with all. To rotate,
// give all instances the new key behind the old one, then before it, and leave the
// old one out when the values that it sealed have expired. Errors are about secrets
// that are not 32 bytes, and keys with the same ID.
func NewSeal(keys ...Key) (*Seal, error) {
	if len(keys) == 0 {
		return nil, errors.New("codec: a Seal without keys, needs one at least")
	}
	s := &Seal{current: keys[0].ID, ciphers: make(map[byte]*xaes)}
	for _, key := range keys {
		if n := len(key.Secret); n != 32 {
			return nil, fmt.Errorf("codec: the secret of key %d has %d bytes, must be 32", key.ID, n)
		}
		if s.ciphers[key.ID] != nil {
			return nil, fmt.Errorf("codec: two keys have the ID %d", key.ID)
		}
		c, err := newXAES(key.Secret)
		if err != nil {
			return nil, fmt.Errorf("codec: key %d: %w", key.ID, err)
		}
		s.ciphers[key.ID] = c
	}
	return s, nil
}

// Seal appends plain, sealed for the purpose that context names, to dst: the key's
// ID, a random nonce, the ciphertext and its tag, 41 bytes more than plain. It must
// not overlap dst.
func (s *Seal) Seal(dst, plain, context []byte) ([]byte, error) {
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails
	dst = append(append(dst, s.current), nonce[:]...)
	aead, err := s.ciphers[s.current].derive(nonce)
	if err != nil {
		return dst, err
	}
	return aead.Seal(dst, nonce[nonceSize/2:], plain, context), nil
}

// Open appends what was sealed for the purpose that context names to dst. The error
// is [ErrSeal].
func (s *Seal) Open(dst, sealed, context []byte) ([]byte, error) {
	if len(sealed) < 1+nonceSize {
		return dst, fmt.Errorf("%w: %d bytes", ErrSeal, len(sealed))
	}
	c := s.ciphers[sealed[0]]
	if c == nil {
		return dst, fmt.Errorf("%w: key %d is unknown", ErrSeal, sealed[0])
	}
	nonce := [nonceSize]byte(sealed[1:])
	aead, err := c.derive(nonce)
	if err != nil {
		return dst, err
	}
	plain, err := aead.Open(dst, nonce[nonceSize/2:], sealed[1+nonceSize:], context)
	if err != nil {
		return dst, ErrSeal
	}
	return plain, nil
}

// xaes is XAES-256-GCM as of c2sp.org/XAES-256-GCM: AES-256-GCM under a key that is
// derived from each nonce's first half. Plain AES-GCM has nonces of 12 bytes, and is
// unsafe after some 2^32 random ones, which a busy fleet draws in days.
type xaes struct {
	block cipher.Block
	mask  [aes.BlockSize]byte // the subkey K1 of CMAC
}

const nonceSize = 24

func newXAES(secret []byte) (*xaes, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.mask[:], x.mask[:])
	high, low := binary.BigEndian.Uint64(x.mask[:]), binary.BigEndian.Uint64(x.mask[8:])
	binary.BigEndian.PutUint64(x.mask[:], high<<1|low>>63)
	binary.BigEndian.PutUint64(x.mask[8:], low<<1^high>>63*0b10000111)
	return x, nil
}

// derive returns the cipher of a nonce, whose second half it takes.
func (x *xaes) derive(nonce [nonceSize]byte) (cipher.AEAD, error) {
	var secret [2 * aes.BlockSize]byte
	for i := range 2 {
		half := secret[i*aes.BlockSize:][:aes.BlockSize]
		half[1], half[2] = byte(i+1), 'X'
		copy(half[4:], nonce[:nonceSize/2])
		subtle.XORBytes(half, half, x.mask[:])
		x.block.Encrypt(half, half)
	}
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
