namespace Bert4Rec.Tests;

/// <summary>No line is longer than .editorconfig's max_line_length, which the compiler and dotnet format do not look at.</summary>
public sealed class LineLengthTests
{
    private const int Longest = 140;

    /// <summary>Beginnings of paths that are not held to it yet.</summary>
    private static readonly string[] _exempt =
    [
        "kernels/", "tools/", "src/Bert4Rec/Checking/", "src/Bert4Rec/Model/", "tests/Bert4Rec.Tests/Checking/",
        "tests/Bert4Rec.Tests/Kernels/", "benchmarks/Bert4Rec.Benchmarks/KernelWorkload.cs",
    ];

    [Fact]
    public void No_line_of_code_is_longer_than_the_editor_allows()
    {
        string[] tooLong =
        [
            .. from path in new[] { "benchmarks", "kernels", "src", "tests", "tools" }.SelectMany(TestFiles.Sources)
               where !_exempt.Any(beginning => path.StartsWith(beginning, StringComparison.Ordinal))
               from line in File.ReadLines(Path.Combine(TestFiles.RepositoryRoot, path)).Index()
               where line.Item.Length > Longest
               select $"{path}:{line.Index + 1}: {line.Item.Length} characters",
        ];

        Assert.True(tooLong.Length == 0, string.Join('\n', tooLong));
    }
}
