package l2

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// lane is the way to one server: calls on it share pipelines and a breaker. Its
// pipelines start on demand, so that of a master which is gone costs nothing.
type lane struct {
	breaker breaker
	queue   queue
}

// lanes are the ways to all servers, one to each master of a Redis Cluster: were
// there one to all, a single master that is dead or silent would hold up, and then
// break, the calls to every other one.
type lanes struct {
	mu   sync.RWMutex
	main *lane            // to a server that is no cluster, or that is not known
	to   map[string]*lane // by address

	closed bool
}

// lane returns the way to the server that holds a Redis key.
func (s *Store) lane(ctx context.Context, key string) *lane {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok || !s.mapped.Load() {
		return s.lanes.main
	}
	node, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return s.lanes.main
	}
	addr := node.Options().Addr
	s.lanes.mu.RLock()
	l := s.lanes.to[addr]
	s.lanes.mu.RUnlock()
	if l == nil {
		l = s.newLane(addr)
	}
	return l
}

func (s *Store) newLane(addr string) *lane {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	l := s.lanes.to[addr]
	if l == nil {
		l = s.openLane(addr)
		if s.lanes.closed {
			l.queue.close()
		}
		s.lanes.to[addr] = l
	}
	return l
}

// openLane returns a way to the server at addr, which is empty if it is not known.
func (s *Store) openLane(addr string) *lane {
	l := &lane{}
	l.breaker.changed = func(open bool, cause error) { s.breaker(addr, open, cause) }
	return l
}

// sentOnce keeps a cluster client from sending a whole pipeline again because of its
// first command's error, or of its connection's.
type sentOnce struct{ redis.Cmder }

func (sentOnce) NoRetry() bool { return true }

// atMostOnce marks the pipeline of one lane. While a slot moves, go-redis would send
// commands that it was redirected with once more to where they were: to two masters at
// a time, whose replies it then writes into the same memory. It follows redirections all
// the same, one command at a time.
func (s *Store) atMostOnce(cmds []redis.Cmder) {
	if _, ok := s.client.(*redis.ClusterClient); ok && len(cmds) > 0 {
		cmds[0] = sentOnce{cmds[0]}
	}
}

// followed is a command of a cluster, and counts how often the client was sent
// elsewhere with it.
type followed struct {
	redis.Cmder
	hops int
}

// SetErr is how the client notes each reply that is an error, redirections among them.
func (f *followed) SetErr(err error) {
	_, moved := redis.IsMovedError(err)
	_, asked := redis.IsAskError(err)
	if moved || asked {
		f.hops++
	}
	f.Cmder.SetErr(err)
}

// follow has the commands of a cluster counted, for [ordered].
func (s *Store) follow(cmds []redis.Cmder) []redis.Cmder {
	if _, ok := s.client.(*redis.ClusterClient); ok {
		for i := range cmds {
			cmds[i] = &followed{Cmder: cmds[i]}
		}
	}
	return cmds
}

// followee returns the command itself.
func followee(cmd redis.Cmder) redis.Cmder {
	if f, ok := cmd.(*followed); ok {
		return f.Cmder
	}
	return cmd
}

// errMoving says that a read is worth nothing, since a slot moves.
var errMoving = errors.New("the shard is moving to another server, and its record was read after the value")

// ordered fails if a record was read after one of the values that follow it in its
// pipeline: its slot moves, the record has gone ahead, and the client had to ask for it
// elsewhere. By then anything may have happened, such as
//
//	reader: record? ask B; value? 7, it is still here
//	shard:  its record comes back to A, which takes 7 away as change 12
//	reader: record? of B; ask A; it says 12
//
// and 7 would pass for what 12 left. A change on B begins an epoch, and shows; this one
// does not.
func ordered(record redis.Cmder, values ...redis.Cmder) error {
	r, ok := record.(*followed)
	if !ok {
		return nil
	}
	for _, value := range values {
		if v, ok := value.(*followed); ok && r.hops > v.hops {
			return errMoving
		}
	}
	return nil
}

// close lets no more calls onto any lane, and waits for those that are there.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	all := append(slices.Collect(maps.Values(l.to)), l.main)
	l.mu.Unlock()
	for _, lane := range all {
		lane.queue.close()
	}
}

// byLane returns the shards of each lane. For a cluster it asks for the map of
// slots first if there is none: until then nobody else does, since that may take
// longer than a budget.
func (s *Store) byLane(ctx context.Context) map[*lane][]int {
	if cluster, ok := s.client.(*redis.ClusterClient); ok && !s.mapped.Load() {
		_, err := cluster.MasterForKey(ctx, s.space.shards[0].record)
		s.mapped.Store(err == nil)
	}
	groups := make(map[*lane][]int, 1)
	for i, k := range s.space.shards {
		l := s.lane(ctx, k.record)
		groups[l] = append(groups[l], i)
	}
	return groups
}

// suspect has a cluster client ask for the map of slots again, in the background,
// since a server did not answer. By itself it asks only when a server that it
// reaches tells of a change, or after a minute: a master that died tells nothing.
func (s *Store) suspect(ctx context.Context) {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
}

// Broken returns how many servers are not asked, since their breakers are open.
func (s *Store) Broken() (n int) {
	s.lanes.mu.RLock()
	defer s.lanes.mu.RUnlock()
	for _, l := range s.lanes.to {
		if l.breaker.open() {
			n++
		}
	}
	if s.lanes.main.breaker.open() {
		n++
	}
	return n
}

// away reports whether no lane is open to calls.
func (l *lanes) away() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, to := range l.to {
		if !to.breaker.open() {
			return false
		}
	}
	return len(l.to) > 0 || l.main.breaker.open()
}
