package l2

import (
	"strconv"
	"strings"
)

// Record is the state of a shard as Redis keeps it.
type Record struct {
	Seq     uint64 // newest sequence number minted
	Epoch   string // the life of the shard's data that Seq belongs to
	Cleared uint64 // values born below it were cleared away
}

// parseRecord reads what record.lua writes; ok is false for anything else.
func parseRecord(raw string) (r Record, ok bool) {
	f := strings.Split(raw, " ")
	if len(f) != 4 || f[1] == "" {
		return Record{}, false
	}
	return recordOf(f[0], f[1], f[2])
}

func recordOf(seq, epoch, cleared string) (r Record, ok bool) {
	r.Epoch = epoch
	var err error
	if r.Seq, err = strconv.ParseUint(seq, 10, 63); err != nil || r.Seq == 0 {
		return Record{}, false
	}
	if r.Cleared, err = strconv.ParseUint(cleared, 10, 63); err != nil {
		return Record{}, false
	}
	return r, true
}
