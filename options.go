package nearcache

import (
	"strings"
	"time"
)

// Option changes one call. Options are values: passing them allocates nothing.
type Option struct {
	kind  optionKind
	ttl   TTL
	bound time.Duration
	info  *Info
	tags  []string
}

type optionKind uint8

const (
	optionTTL optionKind = iota + 1
	optionBound
	optionInfo
	optionTags
)

// WithTTL sets the life of what this Set writes, or of what this Get loads.
// Fields that are zero keep the cache's own, negative ones keep the value out of
// that tier.
func WithTTL(ttl TTL) Option { return Option{kind: optionTTL, ttl: ttl} }

// WithTags names the tags of what this Set writes, or of what this Get loads:
// [Cache.InvalidateTags] of any of them takes it away. At most 64 tags of 1 to 512
// bytes.
func WithTags(tags ...string) Option { return Option{kind: optionTags, tags: tags} }

// WithMaxStaleness tightens [Config.MaxStaleness] for this Get; a longer one has
// no effect. Zero asks for a value that no acknowledged change is missing from:
// see [SkipL1].
func WithMaxStaleness(d time.Duration) Option { return Option{kind: optionBound, bound: max(d, 0)} }

// SkipL1 makes a Get read L2 or the loader: it never returns a value from before a
// change that was acknowledged on any instance when it began, nor one that stands in. It
// costs more than a Get that misses L1, which may rely on the proof that L1 has. In
// L1-only caches it asks the loader, or joins a load that no change has overtaken.
func SkipL1() Option { return WithMaxStaleness(0) }

// WithInfo makes a Get describe its answer in *info, which must not be shared
// by calls that run at the same time.
func WithInfo(info *Info) Option { return Option{kind: optionInfo, info: info} }

// Info describes an answer.
type Info struct {
	Source Source
	Stale  bool // its life is over, and it stands in for what could not be had in time
}

// Source is where a Get found its answer.
type Source uint8

const (
	FromL1     Source = iota + 1 // in this process
	FromL2                       // in Redis
	FromLoader                   // at the source, by this call or one that it joined
)

// String returns "L1", "L2" or "loader".
func (s Source) String() string {
	switch s {
	case FromL1:
		return "L1"
	case FromL2:
		return "L2"
	case FromLoader:
		return "loader"
	}
	return "unknown"
}

// settings are the options of one call, taken together.
type settings struct {
	ttl   TTL
	bound time.Duration
	tags  []string // see tagsOf

	refresh bool          // nobody waits for this read: see tiered.Query
	ahead   time.Duration // likewise
	blind   bool          // likewise
}

// tagsOf returns the tags that options name. Calls that need none of them, such as a
// hit, do not ask: the copy keeps the caller's from the heap.
func tagsOf(opts []Option) (tags []string) {
	for i := range opts {
		if o := &opts[i]; o.kind == optionTags {
			for _, tag := range o.tags {
				tags = append(tags, strings.Clone(tag))
			}
		}
	}
	return tags
}

// boundOf returns the staleness that a read with opts accepts.
func (c *Cache[V]) boundOf(opts []Option) time.Duration {
	bound := c.cfg.MaxStaleness
	for i := range opts {
		if o := &opts[i]; o.kind == optionBound {
			bound = min(bound, o.bound)
		}
	}
	return bound
}

// settings takes options together. The info is apart from the rest, which what a miss
// allocates holds on to: the caller's options would have to be on the heap with it.
func (c *Cache[V]) settings(opts []Option) (s settings, info *Info) {
	s = settings{ttl: c.cfg.TTL, bound: c.boundOf(opts)}
	for i := range opts {
		switch o := &opts[i]; o.kind {
		case optionTTL:
			s.ttl = o.ttl.or(c.cfg.TTL)
		case optionInfo:
			info = o.info
		}
	}
	return s, info
}
