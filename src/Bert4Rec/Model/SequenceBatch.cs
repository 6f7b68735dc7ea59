using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>
/// A micro-batch of sequences packed end to end, without padding: sequence b has the tokens Offsets[b] to Offsets[b+1]. Filled on the host,
/// uploaded once; the memory serves one micro-batch after the other.
/// </summary>
/// <param name="capacity">Tokens, and so sequences, at most.</param>
/// <param name="newestFirst">Whether a sequence's last token has position 0, and not its first.</param>
internal sealed class SequenceBatch(KernelSet kernels, int capacity, bool newestFirst = false) : IDisposable
{
    private readonly int[] _tokens = new int[capacity];
    private readonly int[] _positions = new int[capacity];
    private readonly int[] _offsets = new int[capacity + 1];
    private readonly DeviceBuffer<int> _deviceTokens = kernels.AllocateInts(capacity);
    private readonly DeviceBuffer<int> _devicePositions = kernels.AllocateInts(capacity);
    private readonly DeviceBuffer<int> _deviceOffsets = kernels.AllocateInts(capacity + 1);

    public int TokenCount { get; private set; }

    public int SequenceCount { get; private set; }

    /// <summary>[T]</summary>
    public Indices Tokens => Indices.Of(_deviceTokens).First(TokenCount);

    /// <summary>[T], counted from 0 at each sequence's oldest event, or at its last token.</summary>
    public Indices Positions => Indices.Of(_devicePositions).First(TokenCount);

    /// <summary>[B+1]</summary>
    public Indices Offsets => Indices.Of(_deviceOffsets).First(SequenceCount + 1);

    /// <summary>The row of each sequence's last token.</summary>
    public int LastRow(int sequence) => _offsets[sequence + 1] - 1;

    public void Clear() => TokenCount = SequenceCount = 0;

    public bool HasRoomFor(int length) => TokenCount + length <= capacity;

    /// <summary>Adds a sequence; <paramref name="lastToken"/>, where it is not negative, follows the events.</summary>
    public void Add(ReadOnlySpan<int> events, int lastToken = -1)
    {
        int length = events.Length + (lastToken < 0 ? 0 : 1);
        if (!HasRoomFor(length))
            throw new InvalidOperationException($"a sequence of {length} tokens does not fit behind {TokenCount} of {capacity}");
        events.CopyTo(_tokens.AsSpan(TokenCount));
        if (lastToken >= 0)
            _tokens[TokenCount + events.Length] = lastToken;
        for (int position = 0; position < length; position++)
            _positions[TokenCount + (newestFirst ? length - 1 - position : position)] = position;
        TokenCount += length;
        _offsets[++SequenceCount] = TokenCount;
    }

    public void Upload()
    {
        Tokens.Upload(_tokens.AsSpan(0, TokenCount));
        Positions.Upload(_positions.AsSpan(0, TokenCount));
        Offsets.Upload(_offsets.AsSpan(0, SequenceCount + 1));
    }

    public void Dispose()
    {
        _deviceTokens.Dispose();
        _devicePositions.Dispose();
        _deviceOffsets.Dispose();
    }
}
