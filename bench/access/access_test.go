package access

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		ext, content string
		want         []int32
		distinct     int
	}{
		"numbers":         {"", "\x00\x00\x00\x07\xff\x00\x00\x01\x00\x00\x00\x07", []int32{0, 1, 0}, 2},
		"ARC":             {".arc", "100 3 0 0\n\n101 1\n18446744073709551615 1 0 2\n", []int32{0, 1, 2, 1, 3}, 4},
		"CSV with header": {".csv", "time,key,size\n1,\"a,b\",3\n2,c,3\n3,\"a,b\",3\n", []int32{0, 1, 0}, 2},
		"CSV without":     {".csv", "x,1\ny,2\nx\n", []int32{0, 1, 0}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read("name.trace", c.ext, strings.NewReader(c.content))
			if err != nil {
				t.Fatal(err)
			}
			if got.Name != "name" || !slices.Equal(got.Accesses, c.want) || got.Distinct != c.distinct {
				t.Fatalf("%+v, want accesses %v of %d keys", got, c.want, c.distinct)
			}
		})
	}
}

func TestReadNonsense(t *testing.T) {
	for name, c := range map[string]struct{ ext, content string }{
		"empty":               {"", ""},
		"half a number":       {"", "\x00\x00\x00\x07\xff"},
		"one field":           {".arc", "100\n"},
		"no number":           {".arc", "1 1\nx 1\n"},
		"negative":            {".lis", "-1 1\n"},
		"unbalanced quote":    {".csv", "\"a\n"},
		"key column missing":  {".csv", "size,key\n1,a\n1\n"},
		"header and no lines": {".csv", "key\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := read("name", c.ext, strings.NewReader(c.content)); !errors.Is(err, ErrFormat) {
				t.Fatalf("%+v, %v; want ErrFormat", got, err)
			}
		})
	}
}

func TestOpenPacked(t *testing.T) {
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("7 2\n8 1\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk.arc.xz")
	if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Open(path)
	if err != nil || got.Name != "disk" || !slices.Equal(got.Accesses, []int32{0, 1, 1}) {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("not packed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrFormat) {
		t.Fatalf("%v, want ErrFormat", err)
	}
}

func TestSynthetic(t *testing.T) {
	if got := Loop("loop", 3, 7); !slices.Equal(got.Accesses, []int32{0, 1, 2, 0, 1, 2, 0}) || got.Distinct != 3 {
		t.Fatalf("%+v", got)
	}
	a, b := Zipf("z", 1.2, 1000, 5000), Zipf("z", 1.2, 1000, 5000)
	if !slices.Equal(a.Accesses, b.Accesses) {
		t.Fatal("a trace differs from run to run")
	}
	often := make(map[int32]int)
	for _, key := range a.Accesses {
		often[key]++
	}
	counts := make([]int, 0, len(often))
	for _, n := range often {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	top := 0
	for _, n := range counts[len(counts)-10:] {
		top += n
	}
	if top < len(a.Accesses)/2 {
		t.Fatalf("the ten most wanted of 1,000 keys have %d of %d accesses", top, len(a.Accesses))
	}
	s := Shifting("s", 1.2, 100, 1000, 2000)
	first, second := slices.Max(s.Accesses[:1000]), slices.Min(s.Accesses[1000:])
	if second <= first {
		t.Fatalf("a key of the first set is asked for in the second: %d, %d", first, second)
	}
}
