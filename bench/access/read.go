package access

import (
	"bufio"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ulikunitz/xz"
)

// maxAccesses bounds a trace, which is held in memory; what is beyond is not read.
const maxAccesses = 20_000_000

// ErrFormat is returned for files that are no trace.
var ErrFormat = errors.New("not a trace")

// Open reads a trace file, packed with xz if its name ends in .xz. The rest of the
// name tells the format:
//
//   - .csv: a header with a column "key", or no header, and the key in the first
//     column;
//   - .arc, .lis, .txt: lines that begin "start count", which stand for the keys
//     start to start+count-1, as published with the ARC paper;
//   - anything else: one big-endian 32-bit number an access.
//
// At most the first 20 million accesses are read.
func Open(path string) (Trace, error) {
	file, err := os.Open(path)
	if err != nil {
		return Trace{}, err
	}
	defer file.Close()
	name, packed := strings.CutSuffix(filepath.Base(path), ".xz")
	var content io.Reader = bufio.NewReader(file)
	if packed {
		if content, err = xz.NewReader(content); err != nil {
			return Trace{}, fmt.Errorf("%s: %w: %w", path, ErrFormat, err)
		}
	}
	ext := filepath.Ext(name)
	t, err := read(strings.TrimSuffix(name, ext), ext, content)
	if err != nil {
		return Trace{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func read(name, ext string, content io.Reader) (t Trace, err error) {
	name = strings.TrimSuffix(name, ".trace")
	switch strings.ToLower(ext) {
	case ".csv":
		t, err = traced(name, content, readCSV)
	case ".arc", ".lis", ".txt":
		t, err = traced(name, content, readARC)
	default:
		t, err = traced(name, content, readNumbers)
	}
	if err == nil && len(t.Accesses) == 0 {
		return t, fmt.Errorf("%w: empty", ErrFormat)
	}
	return t, err
}

func traced[K comparable](name string, content io.Reader, parse func(io.Reader) ([]K, error)) (Trace, error) {
	keys, err := parse(content)
	if err != nil {
		return Trace{}, err
	}
	return number(name, keys[:min(len(keys), maxAccesses)]), nil
}

func readNumbers(content io.Reader) ([]uint32, error) {
	data, err := io.ReadAll(io.LimitReader(content, 4*maxAccesses))
	if err != nil {
		return nil, err
	}
	if len(data)%4 != 0 {
		return nil, fmt.Errorf("%w: %d bytes are not a whole number of 32-bit keys", ErrFormat, len(data))
	}
	keys := make([]uint32, len(data)/4)
	for i := range keys {
		keys[i] = binary.BigEndian.Uint32(data[4*i:])
	}
	return keys, nil
}

func readARC(content io.Reader) (keys []uint64, err error) {
	lines := bufio.NewScanner(content)
	for n := 1; lines.Scan() && len(keys) < maxAccesses; n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("%w: line %d is %q, want start and count", ErrFormat, n, lines.Text())
		}
		start, err1 := strconv.ParseUint(fields[0], 10, 64)
		count, err2 := strconv.ParseUint(fields[1], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrFormat, n, err)
		}
		for i := range min(count, maxAccesses) {
			keys = append(keys, start+i)
		}
	}
	return keys, lines.Err()
}

func readCSV(content io.Reader) (keys []string, err error) {
	rows := csv.NewReader(content)
	rows.FieldsPerRecord = -1
	rows.ReuseRecord = true
	column := 0
	for n := 1; len(keys) < maxAccesses; n++ {
		row, err := rows.Read()
		if err == io.EOF {
			return keys, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if n == 1 {
			if at := slices.Index(row, "key"); at >= 0 {
				column = at
				continue
			}
		}
		if column >= len(row) {
			return nil, fmt.Errorf("%w: line %d has %d columns, and the key is in column %d", ErrFormat, n, len(row), column+1)
		}
		keys = append(keys, strings.Clone(row[column]))
	}
	return keys, nil
}
