using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>
/// A micro-batch of sequences packed end to end, without padding: sequence b has the tokens Offsets[b] to Offsets[b+1]. Filled on the host,
/// uploaded once; the memory serves one micro-batch after the other.
/// </summary>
internal sealed class SequenceBatch : IDisposable
{
    private readonly bool _newestFirst;
    private readonly int[] _tokens;
    private readonly int[] _positions;
    private readonly int[] _offsets;
    private readonly DeviceBuffer<int> _deviceTokens;
    private readonly DeviceBuffer<int> _devicePositions;
    private readonly DeviceBuffer<int> _deviceOffsets;

    /// <param name="kernels">The device.</param>
    /// <param name="tokenCapacity">Tokens at most.</param>
    /// <param name="sequenceCapacity">Sequences at most.</param>
    /// <param name="newestFirst">Whether a sequence's last token has position 0, and not its first.</param>
    public SequenceBatch(KernelSet kernels, int tokenCapacity, int sequenceCapacity, bool newestFirst = false)
    {
        _newestFirst = newestFirst;
        TokenCapacity = tokenCapacity;
        SequenceCapacity = sequenceCapacity;
        _tokens = new int[tokenCapacity];
        _positions = new int[tokenCapacity];
        _offsets = new int[sequenceCapacity + 1];
        _deviceTokens = kernels.AllocateInts(tokenCapacity);
        _devicePositions = kernels.AllocateInts(tokenCapacity);
        _deviceOffsets = kernels.AllocateInts(sequenceCapacity + 1);
    }

    public int TokenCapacity { get; }

    public int SequenceCapacity { get; }

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

    public bool HasRoomFor(int length) => TokenCount + length <= TokenCapacity && SequenceCount < SequenceCapacity;

    /// <summary>Adds a sequence; <paramref name="lastToken"/>, where it is not negative, follows the events.</summary>
    public void Add(ReadOnlySpan<int> events, int lastToken = -1)
    {
        int length = events.Length + (lastToken < 0 ? 0 : 1);
        if (!HasRoomFor(length))
            throw new InvalidOperationException($"a sequence of {length} tokens does not fit behind {TokenCount} of {TokenCapacity}");
        events.CopyTo(_tokens.AsSpan(TokenCount));
        if (lastToken >= 0)
            _tokens[TokenCount + events.Length] = lastToken;
        for (int position = 0; position < length; position++)
            _positions[TokenCount + (_newestFirst ? length - 1 - position : position)] = position;
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
