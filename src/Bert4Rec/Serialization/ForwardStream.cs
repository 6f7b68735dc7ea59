namespace Bert4Rec.Serialization;

/// <summary>A stream that is read, or written, from its beginning to its end, and can do nothing else.</summary>
/// <param name="isRead">Read, not written.</param>
internal abstract class ForwardStream(bool isRead) : Stream
{
    public override bool CanRead => isRead;

    public override bool CanSeek => false;

    public override bool CanWrite => !isRead;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(Span<byte> buffer) => throw new NotSupportedException();

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
