package l2

import (
	"context"
	"time"

	"github.com/nearcache/nearcache/internal/guard"
)

// Claim takes the refreshing of a value that a read found, for a load under
// token: readers go on to find the value. It reports false if somebody else has
// claimed it, or if it is another value by now.
func (s *Store) Claim(ctx context.Context, key string, seen Reply, token string, life time.Duration) (bool, error) {
	return succeeded(s.eval(ctx, claimScript, []string{s.valueKey(key)},
		token, life.Milliseconds(), seen.Data[claimedFrom:claimedTo]))
}

// The part of an envelope's header that no script rewrites, and that tells one
// from the next.
const claimedFrom, claimedTo = 34, 82

// Flag asks the holder of a lease or claim for a wake-up when it ends; false
// means that it has ended already.
func (s *Store) Flag(ctx context.Context, key, holder string) (bool, error) {
	return succeeded(s.eval(ctx, flagScript, []string{s.valueKey(key)}, holder))
}

// Fill replaces a lease, or the value that a claim is on, by the envelope that was
// loaded under it. It reports false if the lease or claim, its epoch or the server
// is not the same any more.
func (s *Store) Fill(ctx context.Context, key, token, epoch string, envelope []byte, life time.Duration) (bool, error) {
	if guard.Removed(guard.Lease) {
		err := s.do(ctx, s.valueKey(key), s.client.Pipeline().Set(ctx, s.valueKey(key), envelope, life))
		return err == nil, err
	}
	return s.fill(ctx, key, token, epoch, envelope, life, 0)
}

// Renew replaces the header of the value that a claim is on: the value is still
// current. It reports false as Fill does.
func (s *Store) Renew(ctx context.Context, key, token, epoch string, header []byte, life time.Duration) (bool, error) {
	return s.fill(ctx, key, token, epoch, header, life, 1)
}

func (s *Store) fill(ctx context.Context, key, token, epoch string, envelope []byte, life time.Duration, onlyHeader int) (bool, error) {
	k := &s.space.shards[s.Shard(key)]
	return succeeded(s.eval(ctx, fillScript, []string{k.values + key, k.record},
		token, epoch, envelope, life.Milliseconds(), k.channel, Body(key), onlyHeader))
}

// Release gives a lease or claim back whose load fills nothing. Nobody can claim
// the value again before backOff is over.
func (s *Store) Release(ctx context.Context, key, token, epoch string, backOff time.Duration) error {
	_, err := s.eval(ctx, releaseScript, []string{s.valueKey(key)},
		token, epoch, s.space.shards[s.Shard(key)].channel, Body(key), backOff.Milliseconds())
	return err
}

// Touch lets a value live on that was asked for.
func (s *Store) Touch(ctx context.Context, key string, life time.Duration) error {
	_, err := s.eval(ctx, touchScript, []string{s.valueKey(key)}, life.Milliseconds())
	return err
}
