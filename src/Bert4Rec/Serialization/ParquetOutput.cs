using ParquetSharp;

namespace Bert4Rec.Serialization;

/// <summary>
/// Writes a Parquet file row group by row group, packed with zstd, with checksums on its pages. Columns are arrays: string, long, double,
/// double?, float, or float[] for lists.
/// </summary>
internal sealed class ParquetOutput : IDisposable
{
    private readonly ParquetFileWriter _file;

    private ParquetOutput(Stream stream, Column[] columns)
    {
        using var builder = new WriterPropertiesBuilder();
        builder.Compression(Compression.Zstd).EnablePageChecksum();
        using WriterProperties properties = builder.Build();
        _file = new ParquetFileWriter(stream, columns, null, properties, keyValueMetadata: null, leaveOpen: true);
    }

    /// <summary>Writes a whole file into a stream.</summary>
    /// <param name="stream">Where to; it stays open.</param>
    /// <exception cref="IOException">The stream cannot be written.</exception>
    public static void Write(Stream stream, Column[] columns, Action<ParquetOutput> write)
    {
        var sink = new Sink(stream);
        try
        {
            using var output = new ParquetOutput(sink, columns);
            write(output);
            output._file.Close();
        }
        catch (ParquetException e) when (sink.Failure is not null)
        {
            throw new IOException(sink.Failure.Message, e);
        }
    }

    /// <summary>Writes a row group: an array a column, of one length.</summary>
    public void WriteGroup(params Array[] columns)
    {
        using RowGroupWriter group = _file.AppendRowGroup();
        foreach (Array values in columns)
        {
            using ColumnWriter column = group.NextColumn();
            Action write = values switch
            {
                string?[] texts => () => Write(column, texts),
                long[] numbers => () => Write(column, numbers),
                double[] numbers => () => Write(column, numbers),
                double?[] numbers => () => Write(column, numbers),
                float[] numbers => () => Write(column, numbers),
                float[][] lists => () => Write(column, lists),
                _ => throw new ArgumentException($"a column of {values.GetType()}", nameof(columns)),
            };
            write();
        }
    }

    public void Dispose() => _file.Dispose();

    private static void Write<T>(ColumnWriter column, T[] values)
    {
        using LogicalColumnWriter<T> writer = column.LogicalWriter<T>();
        writer.WriteBatch(values);
    }

    /// <summary>Counts bytes for the library, which asks a stream for its position, and keeps the error that it would swallow.</summary>
    private sealed class Sink(Stream stream) : ForwardStream(isRead: false)
    {
        private long _written;

        public IOException? Failure { get; private set; }

        public override long Length => _written;

        public override long Position
        {
            get => _written;
            set => throw new NotSupportedException();
        }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            // What follows an error is not to be written: the file would have a gap.
            if (Failure is not null)
                throw Failure;
            try
            {
                stream.Write(buffer);
                _written += buffer.Length;
            }
            catch (IOException e)
            {
                Failure = e;
                throw;
            }
        }
    }
}
