package rawwaker

// Kept is for tests: how many items of the last batch the stream still lists.
func (s *reader[C, T]) Kept() int { return len(s.items) }
