package codec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func secret(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func newSeal(t testing.TB, keys ...Key) *Seal {
	t.Helper()
	s, err := NewSeal(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestXAESVectors: those of c2sp.org/XAES-256-GCM, one for each branch of the subkey.
func TestXAESVectors(t *testing.T) {
	for _, v := range []struct {
		key           byte
		context, want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(secret(v.key))
		if err != nil {
			t.Fatal(err)
		}
		nonce := [nonceSize]byte([]byte("ABCDEFGHIJKLMNOPQRSTUVWX"))
		aead, err := x.derive(nonce)
		if err != nil {
			t.Fatal(err)
		}
		got := aead.Seal(nil, nonce[12:], []byte("XAES-256-GCM"), []byte(v.context))
		if hex.EncodeToString(got) != v.want {
			t.Errorf("%x, want %s", got, v.want)
		}
	}
}

func TestSeal(t *testing.T) {
	s := newSeal(t, Key{7, secret(1)})
	a, err := s.Seal([]byte("before"), []byte("plain"), []byte("for this"))
	b, _ := s.Seal([]byte("before"), []byte("plain"), []byte("for this"))
	if err != nil || !bytes.HasPrefix(a, []byte("before\x07")) || bytes.Equal(a, b) || bytes.Contains(a, []byte("plain")) {
		t.Fatalf("%q, %q, %v", a, b, err)
	}
	a = a[len("before"):]
	if n := len(a) - len("plain"); n != 41 {
		t.Errorf("%d bytes more than the plain text", n)
	}
	if got, err := s.Open([]byte("before"), a, []byte("for this")); err != nil || string(got) != "beforeplain" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := s.Open(nil, a, []byte("for that")); !errors.Is(err, ErrSeal) {
		t.Errorf("for another purpose: %v", err)
	}
	for i := range a {
		bad := bytes.Clone(a)
		bad[i] ^= 1
		if got, err := s.Open(nil, bad, []byte("for this")); !errors.Is(err, ErrSeal) || len(got) > 0 {
			t.Fatalf("byte %d was changed: %q, %v", i, got, err)
		}
		if _, err := s.Open(nil, a[:i], []byte("for this")); !errors.Is(err, ErrSeal) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
	}
}

// TestRotation: values of all keys are opened, the first one seals.
func TestRotation(t *testing.T) {
	old, next := Key{1, secret(1)}, Key{2, secret(2)}
	sealed := func(s *Seal) []byte {
		b, err := s.Seal(nil, []byte("plain"), nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before, both, during, after := newSeal(t, old), newSeal(t, old, next), newSeal(t, next, old), newSeal(t, next)
	for name, c := range map[string]struct {
		by    *Seal
		opens map[*Seal]bool
	}{
		"before": {before, map[*Seal]bool{before: true, both: true, during: true, after: false}},
		"both":   {both, map[*Seal]bool{before: true, both: true, during: true, after: false}},
		"during": {during, map[*Seal]bool{before: false, both: true, during: true, after: true}},
	} {
		for s, want := range c.opens {
			if _, err := s.Open(nil, sealed(c.by), nil); (err == nil) != want || err != nil && !errors.Is(err, ErrSeal) {
				t.Errorf("sealed %s, opened with %d: %v", name, s.current, err)
			}
		}
	}
	if _, err := newSeal(t, Key{1, secret(9)}).Open(nil, sealed(before), nil); !errors.Is(err, ErrSeal) {
		t.Errorf("another secret of the same number: %v", err)
	}
}

func TestUnusableKeys(t *testing.T) {
	for want, keys := range map[string][]Key{
		"without keys":                       nil,
		"key 3 has 16 bytes, must be 32":     {{1, secret(1)}, {3, secret(3)[:16]}},
		"two keys have the ID 1":             {{1, secret(1)}, {1, secret(2)}},
		"secret of key 0 has 0 bytes, must ": {{}},
	} {
		if s, err := NewSeal(keys...); err == nil || s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// FuzzSealOpen: whatever the bytes are, what comes out is what went in, or an error.
func FuzzSealOpen(f *testing.F) {
	s := newSeal(f, Key{1, secret(1)})
	good, _ := s.Seal(nil, []byte("plain"), []byte("context"))
	f.Add(good)
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{1}, 41))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := s.Open(nil, data, []byte("context")); err == nil && string(got) != "plain" {
			t.Fatalf("%q was opened", got)
		}
	})
}
