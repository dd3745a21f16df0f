package debugpage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nearcache/nearcache"
)

// ask is the form about a key, with the answer.
type ask struct {
	Cache, Key      string
	AllowInvalidate bool
	Asked           bool
	Notice          string // of an invalidation
	Failed          string // why there is no answer
	Shown           string // the key
	Next            string
	Tiers           []tier
	Facts           []fact
}

type tier struct {
	Name, Holds, Taken string
	Refused            bool
	Facts              []fact
}

// explain asks the cache. Values are in no explanation; tags may tell of other keys.
func (a *ask) explain(ctx context.Context, w *watched, key string, keys bool) {
	a.Asked, a.Key, a.Shown = true, key, shorten(key, 300)
	c := w.current()
	if c == nil {
		a.Failed = "There is no cache under this name."
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	x, err := c.Explain(ctx, key)
	if err != nil {
		a.Failed = shorten(err.Error(), 300)
		return
	}
	if !keys {
		hideTags(&x)
	}
	a.Next = shorten(x.Next, 300)
	a.Tiers = []tier{show("L1, in this process", x.L1), show("L2, in Redis", x.L2)}
	a.Facts = about(x)
}

// hideTags takes the names of tags out of an explanation.
func hideTags(x *nearcache.Explanation) {
	for _, tag := range x.L2.Tags {
		quoted := fmt.Sprintf("%.64q", tag)
		x.L2.Refused = strings.ReplaceAll(x.L2.Refused, quoted, "(not shown)")
		x.Next = strings.ReplaceAll(x.Next, quoted, "(not shown)")
	}
	x.L2.Tags = nil
}

func show(name string, c nearcache.Copy) tier {
	t := tier{Name: name, Holds: c.Holds, Taken: "taken", Refused: c.Refused != ""}
	if t.Holds == "" {
		t.Holds = "not known"
	}
	if t.Refused {
		t.Taken = "not taken: " + shorten(c.Refused, 300)
	}
	if c.Due != "" {
		t.Facts = append(t.Facts, fact{Name: "due", Value: c.Due})
	}
	if c.Holds == "lease" {
		t.Facts = append(t.Facts, fact{Name: "ends in", Value: span(c.Left)})
	}
	if c.Holds != "value" && c.Holds != "not found" {
		return t
	}
	t.Facts = append(t.Facts, fact{Name: "age", Value: span(c.Age)}, fact{Name: "life left", Value: span(c.Left)},
		fact{Name: "reflects changes until", Value: moment(c.Stamp)})
	if c.Bytes > 0 {
		t.Facts = append(t.Facts, fact{Name: "size", Value: byteSize(float64(c.Bytes))})
	}
	if c.NTags > 0 {
		t.Facts = append(t.Facts, fact{Name: "tags", Value: tags(c)})
	}
	return t
}

func tags(c nearcache.Copy) string {
	if len(c.Tags) == 0 {
		return fmt.Sprint(c.NTags)
	}
	names := make([]string, len(c.Tags))
	for i, tag := range c.Tags {
		names[i] = shorten(tag, 60)
	}
	return strings.Join(names, ", ")
}

func about(x nearcache.Explanation) []fact {
	proof := "none: L1 serves only what is younger than the bound"
	if x.ProofAge >= 0 {
		proof = span(x.ProofAge) + " ago"
	}
	facts := []fact{
		{Name: "proven current", Value: proof},
		{Name: "last change", Value: moment(x.Floor), Text: "of this key, or one that shares its floor"},
		{Name: "newest change seen", Value: moment(x.Seen), Text: "of any key of the shard"},
		{Name: "shard", Value: fmt.Sprint(x.Shard), Text: "epoch " + shorten(x.Epoch, 60)},
	}
	if x.Unsent {
		facts = append(facts, fact{Name: "unsent", Value: "a change of it by this instance has not reached Redis"})
	}
	if x.Loading {
		facts = append(facts, fact{Name: "loading", Value: "a load is under way on this instance"})
	}
	return facts
}

// moment is when Redis minted a number.
func moment(seq uint64) string {
	if seq < 1<<40 { // of no server's clock
		return "none since this instance began"
	}
	return time.UnixMicro(int64(seq)).Format("2006-01-02 15:04:05.000")
}
