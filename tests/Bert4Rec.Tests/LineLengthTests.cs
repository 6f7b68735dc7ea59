namespace Bert4Rec.Tests;

/// <summary>No line is longer than .editorconfig's max_line_length, which the compiler and dotnet format do not look at.</summary>
public sealed class LineLengthTests
{
    private const int Longest = 140;

    [Fact]
    public void No_line_of_code_is_longer_than_the_editor_allows()
    {
        string[] tooLong =
        [
            .. from path in new[] { "benchmarks", "examples", "kernels", "src", "tests", "tools" }.SelectMany(TestFiles.Sources)
               from line in File.ReadLines(Path.Combine(TestFiles.RepositoryRoot, path)).Index()
               where line.Item.Length > Longest
               select $"{path}:{line.Index + 1}: {line.Item.Length} characters",
        ];

        Assert.True(tooLong.Length == 0, string.Join('\n', tooLong));
    }
}
